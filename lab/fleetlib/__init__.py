"""What `lab/fleet` is made of: names, host, images, machines, and the fleet that they add up to."""
