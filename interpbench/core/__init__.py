"""The ground floor: errors, types, layers, seeds and devices, which everything else stands on."""
