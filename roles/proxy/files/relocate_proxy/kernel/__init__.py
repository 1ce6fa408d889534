"""Interfaces of the kernel and of the system: tools, nft, conntrack, netlink, systemd."""
