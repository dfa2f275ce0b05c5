"""Updates and live events under load: soundness of cursors, and crowds of clients. Long forms are programs, short ones tests."""
