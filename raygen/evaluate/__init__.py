"""What people look at: reports now, metrics later."""
