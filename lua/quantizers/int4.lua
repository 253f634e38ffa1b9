-- Integers with a scale and a zero for each group of columns (GPTQ arXiv 2210.17323, AWQ
-- 2306.00978), as packed weights of others have them (qpal import).

local function integers(bits, group)
  local zero = { bits > 4 and "u8" or "u4", 0, 2 ^ bits - 1 }
  return scalar {
    name = ("int%d-g%d"):format(bits, group),
    bits = bits,
    group = { size = group, scale = { "f16", 0.001, 4 }, zero = zero },
    decode = function (code, _, group)
      return (half(code) - half(group.zero)) * group.scale
    end,
  }
end

return { integers(4, 128), integers(4, 64), integers(4, 32), integers(3, 128), integers(8, 128) }
