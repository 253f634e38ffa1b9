-- llama.cpp's IQ2_XXS, IQ2_XS and IQ3_XXS (ggml-quants.c, MIT): magnitudes of 8 (or 4) weights from
-- a grid of points, signs in bits of their own; an fp16 scale for 256 columns and 4-bit numbers
-- that multiply it for 32 or 16, in fp32 as its dequantization has it. Of eight signs seven are
-- stored: their product is positive. IQ3_XXS has four weights a code here, with all their signs:
-- 1/8 bit more a weight than there.

local function quantizer(name, entries, dim, size, times)
  local index, signs = entries - 1, dim == 8 and 7 or 4
  local first = entries == 512 and 9 or 8
  return vector {
    name = name, dim = dim, bits = first + signs,
    codebook = stored { file = "grids/" .. name .. ".txt", entries = entries, dim = dim },
    group = { size = size, scale = { "u4", 0, 15 }, d = { "f16", 2^-14, 0.25, size = 256 } },
    decode = function (code, grid, g)
      local v, weights = grid[code & index], {}
      local scale = single(g.d) * (single(g.scale) + 0.5) * times
      for i = 1, signs do v = flip_sign(v, i, code >> first + i - 1 & 1) end
      if dim == 8 then v = flip_sign(v, 8, parity(code >> first)) end
      for i = 1, dim do weights[i] = scale * single(v[i]) end
      return weights
    end,
  }
end

return {
  quantizer("iq2_xxs", 256, 8, 32, 0.25),
  quantizer("iq2_xs", 512, 8, 16, 0.25),
  quantizer("iq3_xxs", 256, 4, 32, 0.5),
}
