"""What workstation and device must compute or read alike: numpy and the standard library only."""
