"""Which conclusions survive when what nobody can choose rightly is chosen otherwise?

The baseline, the steps, probability or logit, the sign, the order, the target, chance, the images.
"""
