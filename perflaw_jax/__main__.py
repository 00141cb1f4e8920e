"""``python -m perflaw_jax``: the command ``perflaw``."""

from perflaw_jax.cli import main

if __name__ == "__main__":
    main()
