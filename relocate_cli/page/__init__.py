"""`relocate report --html`: the journal as one page that needs nothing else: data, model, HTML."""
