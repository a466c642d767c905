"""Serve what a cloud's guest asks its cloud for: its seed for cloud-init, and a mirror of packages."""
