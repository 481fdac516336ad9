"""The methods that are checked where none are named."""

# Those that the literature disputes, those that it trusts, and a control that must fail.
METHODS = ("gradcam", "gradient-x-input", "guided-backprop", "lrp-z-plus", "saliency", "sobel")
