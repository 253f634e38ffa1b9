-- Gemma 2 and 3 (text): sizes of each config.json.

return {
  { name = "gemma-2-2b", type = "gemma2", layers = 26, hidden = 2304, intermediate = 9216,
    heads = 8, kv_heads = 4, head_dim = 256, vocab = 256000, tied = true },
  { name = "gemma-2-9b", type = "gemma2", layers = 42, hidden = 3584, intermediate = 14336,
    heads = 16, kv_heads = 8, head_dim = 256, vocab = 256000, tied = true },
  { name = "gemma-2-27b", type = "gemma2", layers = 46, hidden = 4608, intermediate = 36864,
    heads = 32, kv_heads = 16, head_dim = 128, vocab = 256000, tied = true },
  { name = "gemma-3-1b", type = "gemma3_text", layers = 26, hidden = 1152, intermediate = 6912,
    heads = 4, kv_heads = 1, head_dim = 256, vocab = 262144, tied = true },
  { name = "gemma-3-4b", type = "gemma3", layers = 34, hidden = 2560, intermediate = 10240,
    heads = 8, kv_heads = 4, head_dim = 256, vocab = 262208, tied = true },
  { name = "gemma-3-12b", type = "gemma3", layers = 48, hidden = 3840, intermediate = 15360,
    heads = 16, kv_heads = 8, head_dim = 256, vocab = 262208, tied = true },
  { name = "gemma-3-27b", type = "gemma3", layers = 62, hidden = 5376, intermediate = 21504,
    heads = 32, kv_heads = 16, head_dim = 128, vocab = 262208, tied = true },
}
