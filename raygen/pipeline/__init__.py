"""Steps and programs, and how they are laid over Ray Data."""
