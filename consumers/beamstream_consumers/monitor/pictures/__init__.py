"""Pictures: images as viewers see parts of them, levels, powders, and what is known of them."""
