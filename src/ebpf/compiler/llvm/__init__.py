"""What every front end shares: IR text, debug information, the code generator's child, and the finished object."""
