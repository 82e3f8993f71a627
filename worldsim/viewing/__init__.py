"""What the viewer is made of: the hands, the stage, the pictures, the window and the page."""
