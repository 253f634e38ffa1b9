-- Families that came in 2026: in the names of older ones, with what they add.

local linear, attention, mlp = blocks.linear, blocks.attention, blocks.mlp
local mlp_of, number, first, join = blocks.mlp_of, blocks.number, blocks.first, blocks.join
local moe, shared, router, sparse = blocks.moe, blocks.shared, blocks.router, blocks.sparse
local like_llama, deepseek, by_kind = blocks.like_llama, blocks.deepseek, blocks.by_kind
local first_dense = blocks.first_dense
local beside, beside_qk, routed = blocks.beside, blocks.beside_qk, blocks.beside_experts
local latent = function() return blocks.beside_mla("self_attn") end

local function qk_norms(m) return 2 * m.head_dim end
local function listed(list, i) return type(list) == "table" and list[i + 1] or nil end

-- ---- Dense ----

like_llama { "iquestcoder" }
like_llama({ "hyperclovax" }, {
  extra = function(m) return (m.config.use_post_norm == false and 2 or 4) * m.hidden end,
})
like_llama({ "granite_swa" }, {
  defaults = { tied = 1 }, extra = function(m) return 2 * m.hidden + m.heads end,
  beside = beside("self_attn.sinks"),
})
like_llama({ "diffllama" }, { extra = function(m) return 2 * m.hidden + 4 * m.head_dim end })
like_llama({ "doge" }, {
  beside = beside_qk(),
  extra = function(m)
    return 4 * m.hidden + 2 * m.head_dim + m.kv_heads + m.kv_heads * m.kv_heads * m.head_dim
  end,
})
like_llama({ "apertus1p5_text" }, {
  block = blocks.ungated(), beside = blocks.apertus_norms,
  extra = function(m) return 2 * m.hidden + 2 * m.head_dim + 2 end,
})
like_llama({ "jais2" }, {
  defaults = { attention_bias = 1, mlp_bias = 1 },
  block = blocks.ungated(function(m) return m.mlp_bias == 1 end),
  norms = 4, once = function(m) return 2 * m.hidden end,
})
like_llama({ "nanochat" }, {
  block = function(m)
    return mlp_of(m, attention(m, m.attention_bias == 1, m.attention_bias == 1), "mlp.",
                  m.intermediate, { names = { gate = false, up = "fc1", down = "fc2" },
                                    group = "up" })
  end,
  norms = 0, once = function() return 0 end, beside = {},
})
like_llama({ "youtu" }, {
  defaults = { tied = 1 }, beside = beside(latent()),
  block = function(m) return mlp(m, blocks.mla(m), m.mlp_bias == 1) end,
  extra = function(m) return 2 * m.hidden + blocks.mla_extra(m) end,
})

-- ---- Experts in Qwen's and DeepSeek's names ----

local function plain(m) return attention(m, m.attention_bias == 1, m.attention_bias == 1) end
local function dense_mlp(m) return function() return mlp(m, {}, m.mlp_bias == 1) end end

deepseek({ "sarvam_mla" }, { attention = blocks.mla, extra = blocks.mla_extra })
family {
  types = { "axk1" }, -- a norm behind the MLP of sparse blocks
  beside = beside({ of = "expert_up", "mlp.gate", "post_mlp_layernorm" }, latent()),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local rows = number(m.config.n_shared_experts, 0) * blocks.expert_sizes(m).rows
    return sparse(m, first_dense(m), blocks.mla(m), dense_mlp(m),
                  function() return join(moe(m), shared(m, "mlp.shared_experts.", rows)) end)
  end,
  extra = by_kind(function(m) return 2 * m.hidden + blocks.mla_extra(m) end,
                  function(m) return router(m, true) + m.hidden end),
}
family {
  types = { "mellum" },
  beside = beside_qk(routed("mlp.gate")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    return sparse(m, first_dense(m), plain(m), dense_mlp(m), function() return moe(m) end)
  end,
  extra = by_kind(function(m) return 2 * m.hidden + qk_norms(m) end, router),
}
family {
  types = { "flint" },
  beside = beside_qk(routed("mlp.gate")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local rows = number(m.config.shared_expert_intermediate_size, 0)
    return sparse(m, blocks.qwen_dense(m), plain(m), dense_mlp(m),
                  function() return join(moe(m), shared(m, "mlp.shared_expert.", rows)) end)
  end,
  extra = by_kind(function(m) return 2 * m.hidden + qk_norms(m) + m.heads end,
                  function(m) return router(m, true) end),
}
family {
  types = { "kolibri1" },
  defaults = { intermediate = 1 },
  beside = beside_qk("post_attn_norm", "post_ffn_norm", "mlp.gate"),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local rows = number(m.config.shared_expert_intermediate_size, 0)
    return join(plain(m), moe(m), shared(m, "mlp.shared_experts.", rows))
  end,
  extra = function(m) return 4 * m.hidden + qk_norms(m) + router(m, true) end,
}
family {
  types = { "cohere2_moe" },
  defaults = { tied = 1 },
  beside = { "input_layernorm", routed("mlp.gate") },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local rows = number(m.config.num_shared_experts, 0) * blocks.expert_sizes(m).rows
    return sparse(m, first_dense(m), plain(m), dense_mlp(m),
                  function() return join(moe(m), shared(m, "mlp.shared_experts.", rows)) end)
  end,
  extra = by_kind(function(m) return m.hidden end, router),
}

-- Norms behind attention and MLP too, and a gate on attention's output: Beam with experts and norms
-- of q and k, the smaller Muse without either.
local function gated_output(m)
  local a = plain(m)
  table.insert(a, 4, linear("attn_gate", "qkv", "self_attn.gate_proj", m.heads * m.head_dim,
                            m.hidden))
  return a
end
family {
  types = { "beam" },
  beside = beside_qk("pre_feedforward_layernorm", "post_feedforward_layernorm",
                     routed("mlp.gate")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    return sparse(m, first_dense(m), gated_output(m), dense_mlp(m), function() return moe(m) end)
  end,
  extra = by_kind(function(m) return 4 * m.hidden + qk_norms(m) + m.heads end,
                  function(m) return router(m, true) end),
}
like_llama({ "muse_glimmer_text" }, {
  block = function(m) return mlp(m, gated_output(m), false) end, norms = 4,
  beside = beside("pre_feedforward_layernorm", "post_feedforward_layernorm"),
})

-- Sarvam: Ling's attention in one matrix, DeepSeek's experts.
family {
  types = { "sarvam_moe" },
  beside = beside(routed("mlp.gate")),
  prefix = "model.", embedding = "model.word_embeddings", head = "lm_head",
  block = function(m)
    local c, q, kv = m.config, m.heads * m.head_dim, m.kv_heads * m.head_dim
    local own = {
      blocks.qkv(linear("qkv", "qkv", "attention.query_key_value", q + 2 * kv, m.hidden,
                        c.use_qkv_bias and true or false), m),
      linear("o", "o", "attention.dense", m.hidden, q, c.use_bias and true or false),
    }
    local beside = first(c, { "n_shared_experts", "num_shared_experts" }, 0)
    return sparse(m, first_dense(m), own, dense_mlp(m), function()
      return join(moe(m), shared(m, "mlp.shared_experts.", beside * blocks.expert_sizes(m).rows))
    end)
  end,
  extra = by_kind(function(m)
    return 2 * m.hidden + (m.config.use_qk_norm and qk_norms(m) or 0)
  end, function(m) return router(m, true) end),
}

-- Laguna: a gate a head (or an element) on attention's output; layers differ in their heads.
family {
  types = { "laguna" },
  beside = beside_qk(routed("mlp.gate")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c, dense, kind = m.config, first_dense(m), {}
    local per_element = c.gating and c.gating ~= true and c.gating ~= "per-head"
    local rest = {
      dense = mlp(m, {}, false),
      sparse = join(moe(m), shared(m, "mlp.shared_expert.",
                                   number(c.shared_expert_intermediate_size, 0))),
    }
    local names = blocks.layers(m, function(i)
      local heads = number(listed(c.num_attention_heads_per_layer, i), m.heads)
      local what = dense(i) and "dense" or "sparse"
      local name = what .. "_" .. heads
      if not kind[name] then
        local a = attention({ heads = heads, kv_heads = m.kv_heads, head_dim = m.head_dim,
                              hidden = m.hidden }, m.attention_bias == 1, m.attention_bias == 1)
        if per_element then
          table.insert(a, 4, linear("attn_gate", "qkv", "self_attn.g_proj", heads * m.head_dim,
                                    m.hidden))
        end
        kind[name] = join(a, rest[what])
      end
      return name
    end)
    return { layers = names, kind = kind }
  end,
  extra = function(m)
    local c, sum = m.config, {}
    local per_head = c.gating == true or c.gating == "per-head"
    for i = 0, m.layers - 1 do
      local heads = number(listed(c.num_attention_heads_per_layer, i), m.heads)
      local more = 2 * m.hidden + qk_norms(m) + (per_head and heads * m.hidden or 0)
      sum["dense_" .. heads], sum["sparse_" .. heads] = more, more + router(m, true)
    end
    return sum
  end,
}

-- MiniMax M3: gate|up of shared experts and of dense layers in one matrix; some layers choose what
-- they attend to by an indexer.
family {
  types = { "minimax_m3_vl_text", "minimax_m3" },
  beside = beside_qk(routed("mlp.gate")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c = m.config
    local function joined(role, group, path, rows)
      return { blocks.gate_up(linear(role .. "gate_up", group .. "up-gate", path .. "gate_up_proj",
                                     2 * rows, m.hidden)),
               linear(role .. "down", group .. "down", path .. "down_proj", m.hidden, rows) }
    end
    local rows = number(c.shared_intermediate_size, 0)
    local beside = rows > 0 and joined("shared_", "shared ", "mlp.shared_experts.", rows) or {}
    return sparse(m, first_dense(m), attention(m, false, false), function()
      return joined("", "", "mlp.", number(c.dense_intermediate_size, m.intermediate))
    end, function() return join(moe(m), beside) end)
  end,
  extra = by_kind(function(m) return 2 * m.hidden + qk_norms(m) end,
                  function(m) return router(m, true) end),
}

-- The same with its tower, as it is published: Mixtral's names, gate and up apart.
local m3 = { path = "block_sparse_moe", gate = "w1", up = "w3", down = "w2" }
family {
  types = { "minimax_m3_vl" },
  beside = beside_qk(routed("block_sparse_moe.gate")),
  prefix = "language_model.model.", head = "language_model.lm_head",
  block = function(m)
    local c = m.config
    local wide = { intermediate = number(c.dense_intermediate_size, m.intermediate),
                   hidden = m.hidden }
    return sparse(m, first_dense(m), attention(m, false, false),
                  function() return mlp(wide, {}, false) end,
                  function()
                    return join(moe(m, m3), shared(m, "block_sparse_moe.shared_experts.",
                                                   number(c.shared_intermediate_size, 0)))
                  end)
  end,
  extra = by_kind(function(m) return 2 * m.hidden + qk_norms(m) end,
                  function(m) return router(m, true) end),
  passed = blocks.passed_vision(),
}

-- Granite with windows and sinks: experts under either of two names.
family {
  types = { "granitemoe_swa" },
  beside = beside("self_attn.sinks", "block_sparse_moe.router"),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local path = "block_sparse_moe."
    return join(plain(m), moe(m, { path = "block_sparse_moe", rows = m.intermediate, stack = {
      gate_up = path .. "experts.gate_up_proj", down = path .. "experts.down_proj" } }))
  end,
  extra = function(m) return 2 * m.hidden + m.heads + router(m) end,
}

-- Aria: experts as [in, out], gate and up behind one another.
family {
  types = { "aria_text" },
  beside = beside("mlp.router"),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local rows = m.intermediate
    return join(plain(m), moe(m, {
      transposed = true, rows = rows,
      stack = { gate_up = "mlp.experts.fc1", down = "mlp.experts.fc2" },
    }), shared(m, "mlp.shared_experts.", number(m.config.moe_num_shared_experts, 2) * rows))
  end,
  extra = function(m) return 2 * m.hidden + router(m) end,
}

-- ---- Hybrids ----

-- A delta net whose q, k, v and gate are linears of their own (OLMo Hybrid).
family {
  types = { "olmo_hybrid" },
  beside = { { of = "q", "self_attn.q_norm", "self_attn.k_norm", "post_feedforward_layernorm" },
             { of = "delta_out", "attention_layer_norm", "linear_attn.o_norm" } },
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c = m.config
    local k = number(c.linear_num_key_heads, m.heads) * number(c.linear_key_head_dim, 96)
    local v = number(c.linear_num_value_heads, m.heads) * number(c.linear_value_head_dim, 192)
    local path = "linear_attn."
    return {
      layers = blocks.layers(m, function(i)
        return listed(c.layer_types, i) == "linear_attention" and "delta" or "full"
      end),
      kind = {
        full = mlp(m, plain(m), false),
        delta = mlp(m, {
          linear("delta_q", "delta_in", path .. "q_proj", k, m.hidden),
          linear("delta_k", "delta_in", path .. "k_proj", k, m.hidden),
          linear("delta_v", "delta_in", path .. "v_proj", v, m.hidden),
          linear("delta_z", "delta_in", path .. "g_proj", v, m.hidden),
          linear("delta_out", "delta_out", path .. "o_proj", m.hidden, v),
        }, false),
      },
    }
  end,
  extra = function(m)
    local c, heads = m.config, number(m.config.linear_num_value_heads, m.heads)
    local k = number(c.linear_num_key_heads, m.heads) * number(c.linear_key_head_dim, 96)
    local dim = number(c.linear_value_head_dim, 192)
    local conv = (2 * k + heads * dim) * number(c.linear_conv_kernel_dim, 4)
    return { full = 2 * m.hidden + (m.heads + m.kv_heads) * m.head_dim,
             delta = 2 * m.hidden + conv + 2 * heads + dim + 2 * heads * m.hidden }
  end,
}

-- LFM3: LFM2's blocks with two norms more and a gate a head.
family {
  types = { "lfm3" },
  defaults = { tied = 1 },
  beside = { "operator_norm", "ffn_norm", { of = "q", "self_attn.q_norm", "self_attn.k_norm" } },
  last = "embedding_norm",
  prefix = "model.", head = "lm_head",
  block = function(m)
    local rest = mlp_of(m, {}, "feed_forward.", m.intermediate,
                        { names = { gate = "w1", up = "w3", down = "w2" } })
    return {
      layers = blocks.layers(m, function(i)
        return listed(m.config.layer_types, i) == "conv" and "conv" or "full"
      end),
      kind = {
        full = join(plain(m), rest),
        conv = join({
          linear("conv_in", "conv_in", "conv.in_proj", 3 * m.hidden, m.hidden),
          linear("conv_out", "conv_out", "conv.out_proj", m.hidden, m.hidden),
        }, rest),
      },
    }
  end,
  extra = function(m)
    local c = m.config
    local norms = (c.use_sandwich_norm == false and 2 or 4) * m.hidden
    local gate = c.use_attention_gate == false and 0 or m.heads * m.hidden
    return { conv = norms + m.hidden * number(c.conv_L_cache, 7),
             full = norms + qk_norms(m) + gate }
  end,
}

-- ---- Latent attention and more ----

-- Ling 3: delta attention, MLA in every so many layers.
family {
  types = { "bailing_hybrid" },
  beside = beside(routed("mlp.gate"), { of = "delta_f", "attention.o_norm" },
                  blocks.beside_mla("attention")),
  prefix = "model.", embedding = "model.word_embeddings", head = "lm_head",
  block = function(m)
    local c, dense, kind = m.config, first_dense(m), {}
    local d = number(c.linear_num_heads, m.heads) * number(c.linear_head_dim, 128)
    local latent, delta = blocks.mla(m), {}
    for _, l in ipairs(latent) do l.tensor = l.tensor:gsub("self_attn.o_proj", "attention.dense")
      :gsub("self_attn", "attention") end
    for _, name in ipairs { "q", "k", "v", "f", "g" } do
      table.insert(delta, linear(#delta < 3 and name or "delta_" .. name, "qkv",
                                 "attention." .. name .. "_proj", d, m.hidden))
    end
    table.insert(delta, linear("o", "o", "attention.dense", m.hidden, d))
    local rows = number(c.num_shared_experts, 0) * blocks.expert_sizes(m).rows
    local rest = { dense = mlp(m, {}, false),
                   sparse = join(moe(m), shared(m, "mlp.shared_experts.", rows)) }
    for name, linears in pairs(rest) do
      kind[name .. "_delta"], kind[name .. "_full"] = join(delta, linears), join(latent, linears)
    end
    return {
      layers = blocks.layers(m, function(i)
        local size = number(c.layer_group_size, 6)
        local full = listed(c.layer_types, i) == "full_attention"
          or not c.layer_types and (i + 1) % size == 0
        return (dense(i) and "dense" or "sparse") .. (full and "_full" or "_delta")
      end),
      kind = kind,
    }
  end,
  extra = function(m)
    local c, h = m.config, m.hidden
    local heads, dim = number(c.linear_num_heads, m.heads), number(c.linear_head_dim, 128)
    local delta = 2 * h + heads * h + 3 * heads * dim * number(c.short_conv_kernel_size, 4)
      + heads + heads * dim + dim
    local full = 2 * h + m.heads * h + blocks.mla_extra(m)
    return { dense_delta = delta, dense_full = full, sparse_delta = delta + router(m, true),
             sparse_full = full + router(m, true) }
  end,
}

-- Hunyuan 4: sparse MLA with a gate on its output, streams of residuals, DeepSeek's experts.
family {
  types = { "hy_v4" },
  beside = beside(routed("mlp.gate"), latent()),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c, dense, kind = m.config, first_dense(m), {}
    local dims = { heads = number(c.index_n_heads, 16), dim = number(c.index_head_dim, 128) }
    local names = { gate = "linear_gate" }
    local rows = number(c.n_shared_experts, 0) * blocks.expert_sizes(m).rows
    local rest = {
      dense = mlp_of(m, {}, "mlp.", m.intermediate, { names = names }),
      sparse = join(moe(m), shared(m, "mlp.shared_experts.", rows, { names = names })),
    }
    for name, linears in pairs(rest) do
      for suffix, own in pairs { _index = dims, [""] = false } do
        local a = blocks.mla(m, own or nil)
        table.insert(a, 2, linear("attn_gate", "qkv_a", "self_attn.linear_gate",
                                  m.heads * number(c.v_head_dim, 128), m.hidden))
        kind[name .. suffix] = join(a, linears)
      end
    end
    return {
      layers = blocks.layers(m, function(i)
        return (dense(i) and "dense" or "sparse")
          .. (listed(c.indexer_types, i) ~= "shared" and "_index" or "")
      end),
      kind = kind,
    }
  end,
  extra = function(m)
    local c = m.config
    local dims = { heads = number(c.index_n_heads, 16), dim = number(c.index_head_dim, 128) }
    local n = number(c.hc_mult, 4)
    local all = 2 * m.hidden + m.heads + 2 * (2 * n + 2 * n * n * m.hidden + 2)
    local bare, own = all + blocks.mla_extra(m), all + blocks.mla_extra(m, dims)
    return { dense = bare, sparse = bare + router(m, true), dense_index = own,
             sparse_index = own + router(m, true) }
  end,
  once = function(m)
    local n = number(m.config.hc_mult, 4)
    return m.hidden + n * n * m.hidden + n + 1
  end,
}

-- Inkling: short convolutions beside keys, values and what blocks give; places by a linear.
--   names   those of transformers, or of the publisher (gate and up row by row in one matrix)
local function inkling_block(m, names)
  local c, dense, kind = m.config, first_dense(m), {}
  local rows, beside = blocks.expert_sizes(m).rows, number(c.n_shared_experts, 0)
  local function heads(window)
    local q = window and number(c.swa_num_attention_heads, m.heads) or m.heads
    local kv = window and number(c.swa_num_key_value_heads, m.kv_heads) or m.kv_heads
    local a = attention({ heads = q, kv_heads = kv, hidden = m.hidden, head_dim =
                          window and number(c.swa_head_dim, m.head_dim) or m.head_dim })
    table.insert(a, 4, linear("r", "qkv", "self_attn.r_proj", q * number(c.d_rel, 16), m.hidden))
    for _, l in ipairs(a) do l.tensor = names[l.role] or l.tensor end
    return a
  end
  local function stack(name, role, group, out, into) -- every token goes to all of them
    local l = linear("shared_" .. role, group, "mlp.shared_experts.*." .. name, out, into)
    local whole = names["shared_" .. role]
    local two = whole and role ~= "down"
    l.experts, l.active = beside, beside
    l.stack = { tensor = whole or "mlp.shared_experts." .. name, parts = two and 2 or 1,
                part = two and role == "up" and 1 or 0, interleaved = two }
    return l
  end
  local all = beside > 0 and {
    stack("up_proj", "up", "shared up-gate", rows, m.hidden),
    stack("gate_proj", "gate", "shared up-gate", rows, m.hidden),
    stack("down_proj", "down", "shared down", m.hidden, rows),
  } or {}
  local dense_mlp = mlp(m, {}, false)
  if names.gate_up then
    dense_mlp = { blocks.gate_up(linear("gate_up", "up-gate", names.gate_up, 2 * m.intermediate,
                                        m.hidden), { alternate = true }),
                  linear("down", "down", names.down, m.hidden, m.intermediate) }
  end
  local routed_experts = moe(m, { stack = names.experts,
                                  interleaved = names.experts and true or nil })
  for name, linears in pairs { dense = dense_mlp, sparse = join(routed_experts, all) } do
    kind[name], kind[name .. "_window"] = join(heads(false), linears), join(heads(true), linears)
  end
  return {
    layers = blocks.layers(m, function(i)
      local window = listed(c.layer_types, i) == "hybrid_sliding"
      return (dense(i) and "dense" or "sparse") .. (window and "_window" or "")
    end),
    kind = kind,
  }
end
local function inkling_extra(m)
  local c, sum = m.config, {}
  local width, rel = number(c.conv_kernel_size, 4), number(c.d_rel, 16)
  local beside = number(c.n_shared_experts, 0)
  for _, window in ipairs { false, true } do
    local kv = window and number(c.swa_num_key_value_heads, m.kv_heads) or m.kv_heads
    local extent = window and number(c.sliding_window_size, 512) or number(c.rel_extent, 1024)
    local all = 2 * m.hidden + qk_norms(m) + 2 * width * (kv * m.head_dim + m.hidden)
      + rel * extent
    sum[window and "dense_window" or "dense"] = all + 1
    sum[window and "sparse_window" or "sparse"] = all + router(m) + beside * m.hidden + 1
  end
  return sum
end
local function inkling(types, o)
  family {
    types = types, beside = o.beside, prefix = o.prefix, head = o.head, embedding = o.embedding,
    block = function(m) return inkling_block(m, o.names or {}) end, extra = inkling_extra,
    once = function(m) return 2 * m.hidden end, passed = o.passed,
  }
end
inkling({ "inkling_text" }, {
  prefix = "model.", head = "lm_head",
  beside = beside_qk({ of = "expert_up", "mlp.gate", "mlp.gate.global_scale" }),
})
inkling({ "inkling_mm_model" }, { -- with its towers, as it is published
  prefix = "model.llm.", head = "model.llm.unembed", embedding = "model.llm.embed",
  beside = { "attn_norm", "mlp_norm", "attn.q_norm", "attn.k_norm",
             { of = "expert_up", "mlp.gate", "mlp.gate.global_scale" } },
  names = {
    q = "attn.wq_du", k = "attn.wk_dv", v = "attn.wv_dv", r = "attn.wr_du", o = "attn.wo_ud",
    gate_up = "mlp.w13_dn", down = "mlp.w2_md",
    experts = { gate_up = "mlp.experts.w13_weight", down = "mlp.experts.w2_weight" },
    shared_up = "mlp.shared_experts.shared_w13_weight",
    shared_gate = "mlp.shared_experts.shared_w13_weight",
    shared_down = "mlp.shared_experts.shared_w2_weight",
  },
  passed = function()
    return { weights = 0, what = "towers for images and sound (not counted)" }
  end,
})

-- Lara: q, k, v, z and what steers a state in one matrix; experts in every block.
family {
  types = { "lara_mini" },
  defaults = { intermediate = 1 },
  beside = beside(routed("mlp.gate"), { of = "q", "self_attn.q_norm", "self_attn.k_norm" },
                  { of = "ssm_out", "linear_attn.out_norm" }),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c = m.config
    local heads = number(c.linear_num_value_heads, 16)
    local k = number(c.linear_num_key_heads, 8) * number(c.linear_key_head_dim, 128)
    local v = heads * number(c.linear_value_head_dim, 128)
    local rest = join(moe(m), shared(m, "mlp.shared_expert.",
                                     number(c.shared_expert_intermediate_size, 0)))
    return {
      layers = blocks.layers(m, function(i)
        return listed(c.layer_types, i) == "linear_attention" and "delta" or "full"
      end),
      kind = {
        full = join(plain(m), rest),
        delta = join({
          linear("ssm_in", "delta_in", "linear_attn.in_proj", 2 * k + 2 * v + 2 * heads, m.hidden),
          linear("ssm_out", "delta_out", "linear_attn.out_proj", m.hidden, v),
        }, rest),
      },
    }
  end,
  extra = function(m)
    local c, heads = m.config, number(m.config.linear_num_value_heads, 16)
    local k = number(c.linear_num_key_heads, 8) * number(c.linear_key_head_dim, 128)
    local dim = number(c.linear_value_head_dim, 128)
    local conv = (2 * k + heads * dim) * number(c.linear_conv_kernel_dim, 4)
    local all = 2 * m.hidden + router(m)
    return { full = all + qk_norms(m), delta = all + conv + 2 * heads + dim }
  end,
}

-- Dots 3: MLA whose sizes a layer may have of its own, an indexer in some, a gate a head.
local function dots_layer(m, i)
  local c = m.config
  local own = type(c.per_layer_config) == "table" and c.per_layer_config or {}
  local p = own[tostring(i)] or own[("%02d"):format(i)] or {}
  local config = {}
  for _, from in ipairs { c, p } do
    for key, value in pairs(from) do config[key] = value end
  end
  return { config = config, hidden = m.hidden, attention_bias = m.attention_bias,
           heads = number(p.num_attention_heads, m.heads) },
    listed(c.layer_types, i) == "indexed_attention"
      and { heads = number(c.index_n_heads, 64), dim = number(c.index_head_dim, 128) } or nil
end
local function dots_names(m)
  local dense, list, of = first_dense(m), {}, {}
  for i = 0, m.layers - 1 do
    local l, index = dots_layer(m, i)
    local c = l.config
    local name = ("%s_%d_%d_%d%s"):format(dense(i) and "dense" or "sparse", l.heads,
                                          number(c.kv_lora_rank, 512),
                                          number(c.qk_nope_head_dim, 128), index and "_i" or "")
    list[i + 1], of[name] = name, i
  end
  return list, of
end
family {
  types = { "dots3_note_text" },
  beside = beside(routed("mlp.gate"), latent()),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local names, of = dots_names(m)
    local kind, rows = {}, number(m.config.n_shared_experts, 0) * blocks.expert_sizes(m).rows
    local sparse_rest = join(moe(m), shared(m, "mlp.shared_experts.", rows))
    for name, i in pairs(of) do
      local l, index = dots_layer(m, i)
      kind[name] = join(blocks.mla(l, index),
                        name:find("^dense") and mlp(m, {}, m.mlp_bias == 1) or sparse_rest)
    end
    return { layers = names, kind = kind }
  end,
  extra = function(m)
    local _, of = dots_names(m)
    local sum = {}
    for name, i in pairs(of) do
      local l, index = dots_layer(m, i)
      sum[name] = 2 * m.hidden + blocks.mla_extra(l, index) + l.heads * m.hidden
        + number(l.config.qk_rope_head_dim, 64) + (name:find("^dense") and 0 or router(m, true))
    end
    return sum
  end,
}

-- RecurrentGemma (Griffin): a gated recurrence between linears, in two blocks of three.
family {
  types = { "recurrent_gemma" },
  defaults = { tied = 1, head_dim = 256 },
  beside = { "temporal_pre_norm", "channel_pre_norm" }, last = "final_norm",
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c = m.config
    local types = type(c.block_types) == "table" and #c.block_types > 0 and c.block_types
      or { "recurrent", "recurrent", "attention" }
    local path, width = "temporal_block.", number(c.lru_width, m.hidden)
    local rest = mlp_of(m, {}, "mlp_block.", m.intermediate // 2, { bias = true })
    local function own(role, group, name, rows, columns, bias)
      return linear(role, group, path .. name, rows, columns, bias)
    end
    local q, kv, bias = m.heads * m.head_dim, m.kv_heads * m.head_dim, m.attention_bias == 1
    return {
      layers = blocks.layers(m, function(i) return types[i % #types + 1] end),
      kind = {
        attention = join({
          own("q", "qkv", "q_proj", q, m.hidden, bias),
          own("k", "qkv", "k_proj", kv, m.hidden, bias),
          own("v", "qkv", "v_proj", kv, m.hidden, bias),
          own("o", "o", "o_proj", m.hidden, q, true),
        }, rest),
        recurrent = join({
          own("lru_y", "lru_in", "linear_y", width, m.hidden, true),
          own("lru_x", "lru_in", "linear_x", width, m.hidden, true),
          own("lru_out", "lru_out", "linear_out", m.hidden, width, true),
        }, rest),
      },
    }
  end,
  extra = function(m)
    local c = m.config
    local width, heads = number(c.lru_width, m.hidden), m.heads
    local gates = 2 * (heads * (width // heads) ^ 2 // 1 | 0) + 2 * width
    return { attention = 2 * m.hidden,
             recurrent = 2 * m.hidden + width * (number(c.conv1d_width, 4) + 1) + width + gates }
  end,
}

-- Phi-4 multimodal: Phi-3's blocks; towers and adapters stand beside them.
family {
  types = { "phi4_multimodal", "phi4mm" },
  beside = beside(),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local q, kv, f = m.heads * m.head_dim, m.kv_heads * m.head_dim, m.intermediate
    return {
      blocks.qkv(linear("qkv", "qkv", "self_attn.qkv_proj", q + 2 * kv, m.hidden), m),
      linear("o", "o", "self_attn.o_proj", m.hidden, q),
      blocks.gate_up(linear("gate_up", "up-gate", "mlp.gate_up_proj", 2 * f, m.hidden)),
      linear("down", "down", "mlp.down_proj", m.hidden, f),
    }
  end,
  extra = function(m) return 2 * m.hidden end,
  passed = function()
    return { weights = 0, what = "towers for images and sound, adapters (not counted)" }
  end,
}
