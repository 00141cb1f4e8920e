"""What a result directory says, as a page and as figures: ``writer.write_report``; ``charts`` draws the same in a notebook."""
