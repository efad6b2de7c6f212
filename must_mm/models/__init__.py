"""MUST, MAE-CT, their heads, necks, losses and backbones."""
