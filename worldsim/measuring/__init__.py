"""What an evaluation is made of: held-out clips, probes, trials and the report."""
