-- A window just beyond those of which all paths are looked at, so that a beam searches it.
return trellis { name = "window21", window = 21, dim = 2, step = 4,
  codebook = random_gaussian { entries = 1024, dim = 2 },
  decode = function (s, c) return c[s * 0x9e3779b1 >> 20 & 1023] end }
