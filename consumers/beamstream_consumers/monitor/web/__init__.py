"""The monitor's page on the network: what viewers may ask, what they are sent, and who is let in."""
