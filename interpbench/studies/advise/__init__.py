"""Which method for this model and these images, how sure is that, and what would change it?"""
