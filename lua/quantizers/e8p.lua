-- E8P (QuIP#, arXiv 2402.04396): 2^16 points of the E8 lattice + 1/4. Eight bits choose magnitudes,
-- seven bits signs (the eighth keeps the sum even), one bit a shift of all weights by +-1/4.

local rows = {}
local function add(row)
  local sum = 0
  for i = 1, 8 do sum = sum + row[i] end
  if sum % 2 ~= 0 then row[8] = -row[8] end          -- an even sum: the point is in D8 + 1/2
  for i = 1, 8 do rows[#rows + 1] = row[i] end
end

-- All vectors of 1/2, 3/2, 5/2 with squared norm up to 10 (227), and the first 29 of norm 12.
local function grow(row, n, square, wanted)
  if n == 8 then return wanted(square) and add { table.unpack(row) } end
  for x = 0.5, 2.5 do
    row[n + 1] = x
    if square + x * x <= 12.5 then grow(row, n + 1, square + x * x, wanted) end
  end
end
grow({}, 0, 0, function (square) return square <= 10 end)
grow({}, 0, 0, function (square) return square == 12 and #rows < 256 * 8 end)
rows.dim = 8

local function point(code, codebook)
  local v = codebook[code >> 8]
  for i = 1, 7 do v = flip_sign(v, i, code >> i & 1) end
  v = flip_sign(v, 8, parity(code & 0xfe))
  return v + select(code & 1, half(0.25), half(-0.25))
end

return {
  vector { name = "e8p-2", dim = 8, bits = 16, codebook = values(rows), decode = point },
  vector {                                           -- with a scale for 64 columns
    name = "e8p-2-g64", dim = 8, bits = 16, codebook = values(rows),
    group = { size = 64, scale = { "f16", 0.001, 4 } },
    decode = function (code, codebook, g) return point(code, codebook) * g.scale end,
  },
}
