"""Operations that depend on the noise model: thinning, variance stabilisation, conditioning, likelihood tables."""
