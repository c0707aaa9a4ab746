"""Other systems' interfaces, in front of this one's parts."""
