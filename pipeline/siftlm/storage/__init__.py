"""Lists and prunes stores: what is in them, which runs need it, and what may go."""
