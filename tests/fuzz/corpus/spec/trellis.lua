return trellis {
  name = "t-3", window = 10, dim = 2, step = 6,
  codebook = values { dim = 2, 1, 2, 3, 4, 5, 6, 7, 8 },
  decode = function (s, codebook)
    local h = s * s + s
    return flip_sign(codebook[h >> 6 & 3], 1, h >> 5 & 1)
  end,
}
