return vector {
  name = "words", dim = 5, bits = 8,
  decode = function (c)
    local x = lop3(prmt(c, c * 3, 0x4210), funnel(c, ~c, 7), mad(c, 3, 1), 0x96)
    local v = vec(half(bytesum(x)) * 0.5, pack(half(bits(x, 3, 4)), 1), abs(half_signed(-c)))
    return concat(fma(v, 2, 1), select(lt(c, 9), as_half(c & 1023), 0.25))
  end,
}
