"""What Streamlit runs, from the top, whenever an input changes."""

from perflaw_jax.planner.app import page

if __name__ == "__main__":  # Streamlit runs it as the main module
    page()
