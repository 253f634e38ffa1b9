-- Trellis codes with four weights a state: one look-up of 8 bytes and computed signs for
-- four weights.

local palette = {}
for _, rate in ipairs { 1.5, 2, 2.5 } do
  palette[#palette + 1] = trellis {
    name = ("quad-%g"):format(rate),
    window = 16,
    dim = 4,
    step = math.tointeger(4 * rate),
    codebook = random_gaussian { entries = 1024, dim = 4, seed = 3 },
    decode = function (s, codebook)
      local h, g = s * 0x9e36 + 0x3a5c7, s * 0x16b52
      local four = codebook[h >> 7 & 1023]
      for i = 1, 4 do four = flip_sign(four, i, g >> 12 + i & 1) end
      return four
    end,
  }
end
return palette
