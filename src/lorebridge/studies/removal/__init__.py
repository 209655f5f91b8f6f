"""Studies of removal: does joint pretraining carry what only one language states?"""
