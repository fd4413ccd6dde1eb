"""What drivers of modules share: the driver's own task, its jobs and its troubles.  No dialect here."""
