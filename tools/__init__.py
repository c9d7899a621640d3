"""Tools for developers of MedDenoise; nothing that ships uses them."""
