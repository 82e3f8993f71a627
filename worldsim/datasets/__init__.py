"""What a data set is made of: episodes, their layout on disk, and what is done to whole sets."""
