"""What labels given by a person bring, chosen by review or by chance."""
