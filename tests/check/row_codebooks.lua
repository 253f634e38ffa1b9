-- Decodes that look up codebooks of rows: several, of odd sizes, beside a codebook of all rows,
-- beside an unfolded table; of bit planes.
local function sum(name, bits, a, b, decode)
  return scalar { name = name, bits = bits, codebooks = { a = a, b = b }, decode = decode }
end
local row2 = values { dim = 1, scope = "row", -1, 1 }
local row3 = values { dim = 1, scope = "row", -1, 0.25, 1 }
local row4 = values { dim = 1, scope = "row", -1, 0, 1, 2 }
return {
  sum("two-rows", 2, row2, values { dim = 1, scope = "row", -0.5, 0.5 },
    function (c, k) return k.a[c & 1] + k.b[c >> 1] end),
  sum("three-of-three", 4, row3, values { dim = 1, scope = "row", -0.5, 0.5, 0.7, 0.9, 1.1 },
    function (c, k) return k.a[(c & 1) + (c >> 1 & 1)] + k.b[(c >> 2) + (c & 1)] end),
  sum("row-and-all", 4, row4, values { dim = 1, -0.5, 0.5, 0.7, 0.9 },
    function (c, k) return k.a[c & 3] + k.b[c >> 2] end),
  sum("all-and-row", 4, values { dim = 1, -0.5, 0.5, 0.7, 0.9 }, row4,
    function (c, k) return k.a[c & 3] + k.b[c >> 2] end),
  scalar { name = "row-and-sign", bits = 3, codebooks = { a = row4 },
    decode = function (c, k) return flip_sign(k.a[c & 3], 1, c >> 2) end },
  scalar { name = "planes-and-sign", bits = 3, planes = true, codebooks = { a = row4 },
    decode = function (c, k) return flip_sign(k.a[c & 3], 1, c >> 2) end },
  scalar { name = "planes-of-five", bits = 5, planes = true, codebooks = { a = row4 },
    decode = function (c, k) return k.a[c & 3] + k.a[c >> 3] end },
  scalar { name = "row-and-unfolded", bits = 6, codebooks = { a = row3 },
    decode = function (c, k)
      local h = (c >> 2) * (c >> 2) + 7
      local g = h * h + (h >> 1)
      return k.a[(c & 1) + (c >> 1 & 1)] + half((g ~ g >> 3) & 63)
    end },
}
