"""What lies on the shared storage, and files that a tenant or another host wrote: no link is followed."""
