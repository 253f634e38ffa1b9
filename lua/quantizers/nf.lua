-- NormalFloat with the largest magnitude of 64 columns as scale (QLoRA arXiv 2305.14314; 3
-- bits as in FLUTE). Values: quantiles of N(0,1) at equal steps on each side of zero, divided
-- by the largest.

local levels = {
  [3] = { -1, -0.5350227355957031, -0.2469314038753510, 0, 0.1833375245332718, 0.3819939494132996,
    0.6229856610298157, 1 },
  [4] = { -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1 },
}

local palette = {}
for _, bits in ipairs { 3, 4 } do
  local list = levels[bits]
  list.dim = 1
  palette[#palette + 1] = scalar {
    name = ("nf%d-g64"):format(bits),
    bits = bits,
    codebook = values(list),
    group = { size = 64, scale = { "f16", 0.001, 8 } },
    decode = function (code, codebook, group) return codebook[code] * group.scale end,
  }
end
return palette
