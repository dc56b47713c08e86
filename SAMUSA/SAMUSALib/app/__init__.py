"""Qt glue that the Slicer modules share; `qt` is imported only where it is used."""
