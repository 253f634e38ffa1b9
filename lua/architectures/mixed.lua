-- Decoders whose blocks mix several ways: attention in windows or not, state spaces, convolutions.

local linear, attention, mlp = blocks.linear, blocks.attention, blocks.mlp
local mlp_of, number, first, join = blocks.mlp_of, blocks.number, blocks.first, blocks.join
local moe, shared, router = blocks.moe, blocks.shared, blocks.router
local beside, routed = blocks.beside, blocks.beside_experts

-- ---- Qwen3-Next and Qwen3.5: three layers of a gated delta net, then one of attention ----

local function is_full(m)
  local types, every = m.config.layer_types, number(m.config.full_attention_interval, 4)
  return function(i)
    if type(types) == "table" then return types[i + 1] == "full_attention" end
    return (i + 1) % every == 0
  end
end

-- Attention whose output is gated: q makes the gate too.
local function gated_attention(m)
  local list = attention(m, m.attention_bias == 1, m.attention_bias == 1)
  list[1].rows = (m.config.attn_output_gate == false and 1 or 2) * m.heads * m.head_dim
  return list
end

local function qwen_next(o)
  return {
    block = function(m)
      local full, dense = is_full(m), o.dense and blocks.qwen_dense(m)
      local function rest(kind)
        if kind == "dense" then return mlp(m, {}, false) end
        return join(moe(m), shared(m, "mlp.shared_expert.",
                                   number(m.config.shared_expert_intermediate_size, 512)))
      end
      local kind, names = {}, o.experts and { "dense", "sparse" } or { "dense" }
      for _, name in ipairs(names) do
        kind[name .. "_full"] = join(gated_attention(m), rest(name))
        kind[name .. "_delta"] = join(blocks.delta_net(m, o.fused), rest(name))
      end
      return {
        layers = blocks.layers(m, function(i)
          local name = (not o.experts or (dense and dense(i))) and "dense" or "sparse"
          return name .. (full(i) and "_full" or "_delta")
        end),
        kind = kind,
      }
    end,
    extra = function(m)
      local full = 2 * m.hidden + 2 * m.head_dim
      local delta = 2 * m.hidden + blocks.delta_net_extra(m)
      local more = o.experts and router(m) + m.hidden or 0
      return { dense_full = full, dense_delta = delta, sparse_full = full + more,
               sparse_delta = delta + more }
    end,
  }
end
local function qwen_family(types, prefix, o)
  local f = qwen_next(o)
  family { types = types, defaults = { head_dim = 256, intermediate = o.experts and 1 or nil },
           prefix = prefix, head = "lm_head", block = f.block, extra = f.extra,
           beside = beside({ of = "q", "self_attn.q_norm", "self_attn.k_norm" },
                           { of = "delta_out", "linear_attn.norm" }, routed("mlp.gate"),
                           { of = "shared_up", "mlp.shared_expert_gate" }) }
end
qwen_family({ "qwen3_next" }, "model.", { experts = true, dense = true, fused = true })
qwen_family({ "qwen3_5_text" }, "model.", {})
qwen_family({ "qwen3_5_moe_text" }, "model.", { experts = true, dense = true })

-- ---- Gemma 4: global layers have wider heads, and their keys are their values ----

--   k      one of gemma4_kinds
local function gemma4_layer(m, k)
  local d, kv, same = k.head_dim, k.kv_heads, k.same
  local bias = m.attention_bias == 1
  local list = {
    linear("q", "qkv", "self_attn.q_proj", m.heads * d, m.hidden, bias),
    linear("k", "qkv", "self_attn.k_proj", kv * d, m.hidden, bias),
  }
  if not same then
    list[3] = linear("v", "qkv", "self_attn.v_proj", kv * d, m.hidden, bias)
  end
  table.insert(list, linear("o", "o", "self_attn.o_proj", m.hidden, m.heads * d, bias))
  return list
end

-- The kinds of layers by names, and each layer's name: of global layers or windows, with heads as
-- the config gives them for all or for one layer, and with keys of their own or (the last ones)
-- those of an earlier layer.
local function gemma4_kinds(m)
  local c, kinds, names = m.config, {}, {}
  local shared_from = m.layers - number(c.num_kv_shared_layers, 0)
  local own = type(c.per_layer_config) == "table" and c.per_layer_config or {}
  for i = 0, m.layers - 1 do
    local full = (i + 1) % 6 == 0
    if type(c.layer_types) == "table" then full = c.layer_types[i + 1] == "full_attention" end
    local p = own[tostring(i)] or own[("%02d"):format(i)] or {}
    local k = { same = full and c.attention_k_eq_v and true or false, shared = i >= shared_from }
    k.head_dim = number(p.head_dim, full and number(c.global_head_dim, m.head_dim) or m.head_dim)
    k.kv_heads = number(p.num_key_value_heads,
                        k.same and number(c.num_global_key_value_heads, m.kv_heads) or m.kv_heads)
    local name = ("%s_%d_%d%s"):format(k.same and "same" or "own", k.head_dim, k.kv_heads,
                                       k.shared and "_shared" or "")
    kinds[name], names[i + 1] = k, name
  end
  return kinds, names
end

local function gemma4_linears(m, k)
  local c, s = m.config, blocks.expert_sizes(m)
  local list = gemma4_layer(m, k)
  if k.shared then list = { list[1], list[#list] } end
  mlp_of(m, list, "mlp.", (k.shared and c.use_double_wide_mlp and 2 or 1) * m.intermediate)
  if c.enable_moe_block then
    blocks.experts(m, list, {
      path = "moe", rows = s.rows, experts = s.experts, active = s.active,
      stack = { gate_up = "experts.gate_up_proj", down = "experts.down_proj" },
      names = function(n) return "experts.*." .. n end,
    })
  end
  local narrow = number(c.hidden_size_per_layer_input, 0)
  if narrow > 0 then
    table.insert(list, linear("layer_gate", "layer_gate", "per_layer_input_gate", narrow, m.hidden))
    table.insert(list, linear("layer_out", "layer_out", "per_layer_projection", m.hidden, narrow))
  end
  return list
end

family {
  types = { "gemma4_text", "gemma4_unified_text" },
  defaults = { tied = 1, head_dim = 256 },
  beside = beside("pre_feedforward_layernorm", "post_feedforward_layernorm", "self_attn.q_norm",
                  { of = "k", "self_attn.k_norm" }, { of = "layer_gate",
                  "post_per_layer_input_norm" }, routed("router.proj")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local kinds, names = gemma4_kinds(m)
    local kind = {}
    for name, k in pairs(kinds) do kind[name] = gemma4_linears(m, k) end
    return { layers = names, kind = kind }
  end,
  extra = function(m)
    local c, sum = m.config, {}
    local more = 4 * m.hidden
    if c.enable_moe_block then
      more = more + 4 * m.hidden + blocks.expert_sizes(m).experts + router(m)
    end
    if number(c.hidden_size_per_layer_input, 0) > 0 then more = more + m.hidden end
    for name, k in pairs((gemma4_kinds(m))) do
      sum[name] = (k.shared and 1 or 2) * k.head_dim + more
    end
    return sum
  end,
  once = function(m) -- and, in the small ones, an embedding for every layer
    local c = m.config
    local narrow = number(c.hidden_size_per_layer_input, 0)
    if narrow == 0 then return m.hidden end
    local vocab = number(c.vocab_size_per_layer_input, m.vocab)
    return m.hidden + vocab * m.layers * narrow + m.layers * narrow * m.hidden + narrow
  end,
}

-- ---- Mamba-2 among attention ----

local function ssm_sizes(m)
  local c = m.config
  local heads = first(c, { "mamba_num_heads", "mamba_n_heads", "num_heads" }, 128)
  local dim = first(c, { "mamba_head_dim", "mamba_d_head", "head_dim" }, 64)
  if type(c.mamba_d_head) == "string" or not c.mamba_d_head and c.mamba_n_heads then
    dim = first(c, { "mamba_expand", "expand" }, 2) * m.hidden // heads
  end
  return {
    heads = heads, head_dim = dim,
    groups = first(c, { "n_groups", "mamba_n_groups" }, 1),
    state = first(c, { "ssm_state_size", "mamba_d_state", "state_size" }, 128),
    conv = first(c, { "conv_kernel", "mamba_d_conv" }, 4),
  }
end

-- What transformers 4 and 5 call the two.
local mixers = { linear_attention = "mamba", mamba2 = "mamba", full_attention = "attention" }
local function mixer_layers(given)
  local list = {}
  for i, name in ipairs(type(given) == "table" and given or {}) do
    list[i] = mixers[name] or name
  end
  return list
end

-- Nemotron-H: a letter a layer: M a state space, * attention, - an MLP, E experts.
local letters = { M = "mamba", ["*"] = "attention", ["-"] = "mlp", E = "moe" }
local function nemotron_layers(m)
  local c, list = m.config, {}
  if type(c.layers_block_type) == "table" then return mixer_layers(c.layers_block_type) end
  for letter in (c.hybrid_override_pattern or ""):gmatch(".") do
    list[#list + 1] = letters[letter] or letter
  end
  return list
end
local function nemotron_attention(m)
  local d = first(m.config, { "attention_head_dim", "head_dim" }, m.head_dim)
  local q, kv, bias = m.heads * d, m.kv_heads * d, m.attention_bias == 1
  return {
    linear("q", "qkv", "mixer.q_proj", q, m.hidden, bias),
    linear("k", "qkv", "mixer.k_proj", kv, m.hidden, bias),
    linear("v", "qkv", "mixer.v_proj", kv, m.hidden, bias),
    linear("o", "o", "mixer.o_proj", m.hidden, q, bias),
  }
end
local function nemotron_experts(m)
  local c, s = m.config, blocks.expert_sizes(m)
  local latent = number(c.moe_latent_size)
  local list = blocks.experts(m, {}, {
    path = "mixer", gate = false, rows = s.rows, experts = s.experts, active = s.active,
    columns = latent, stack = { up = "mixer.experts.up_proj", down = "mixer.experts.down_proj" },
  })
  if latent then
    for _, l in ipairs(list) do if l.role == "expert_down" then l.rows = latent end end
    table.insert(list, linear("latent_in", "latent_in", "mixer.fc1_latent_proj", latent, m.hidden))
    table.insert(list, linear("latent_out", "latent_out", "mixer.fc2_latent_proj", m.hidden,
                              latent))
  end
  local rows = number(c.moe_shared_expert_intermediate_size, 0) * number(c.n_shared_experts, 1)
  return join(list, shared(m, "mixer.shared_experts.", rows, { names = { gate = false } }))
end
family {
  types = { "nemotron_h" },
  names = { layers = "layers_block_type" },
  beside = { "norm", { of = "ssm_in", "mixer.norm" }, routed("mixer.gate") },
  last = "norm_f",
  prefix = "backbone.", embedding = "backbone.embeddings", head = "lm_head",
  block = function(m)
    local bias = m.mlp_bias == 1
    return {
      layers = nemotron_layers(m),
      kind = {
        mamba = blocks.mamba2(m, ssm_sizes(m), "mixer.", m.config.use_bias and true or false),
        attention = nemotron_attention(m),
        mlp = mlp_of(m, {}, "mixer.", m.intermediate, { names = { gate = false }, bias = bias,
                                                        group = "up" }),
        moe = nemotron_experts(m),
      },
    }
  end,
  extra = function(m)
    local h = m.hidden
    return { mamba = h + blocks.mamba2_extra(ssm_sizes(m)), attention = h, mlp = h,
             moe = h + router(m, true) }
  end,
}

-- Granite 4: Mamba-2 or attention, then experts and a shared MLP.
family {
  types = { "granitemoehybrid" },
  defaults = { tied = 1 },
  beside = beside(routed("block_sparse_moe.router.layer"), { of = "ssm_in", "mamba.norm" }),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c, bias = m.config, m.attention_bias == 1
    local rest
    if first(c, { "num_local_experts" }, 0) > 0 then
      rest = blocks.granite_moe(m)
    else
      local rows = number(c.shared_intermediate_size, m.intermediate)
      rest = {
        blocks.gate_up(linear("gate_up", "up-gate", "shared_mlp.input_linear", 2 * rows,
                              m.hidden)),
        linear("down", "down", "shared_mlp.output_linear", m.hidden, rows),
      }
    end
    return {
      layers = mixer_layers(c.layer_types or c.layers_block_type),
      kind = {
        mamba = join(blocks.mamba2(m, ssm_sizes(m), "mamba.", c.mamba_proj_bias and true or false),
                     rest),
        attention = join(attention(m, bias, bias), rest),
      },
    }
  end,
  extra = function(m)
    local gate = first(m.config, { "num_local_experts" }, 0) > 0 and router(m) or 0
    local all = 2 * m.hidden + gate
    return { mamba = all + blocks.mamba2_extra(ssm_sizes(m)), attention = all }
  end,
}

-- Falcon-H1: attention and Mamba-2 side by side in every block.
family {
  types = { "falcon_h1" },
  beside = { "input_layernorm", "pre_ff_layernorm" }, last = "final_layernorm",
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c, s = m.config, ssm_sizes(m)
    local inner = number(c.mamba_d_ssm, s.heads * s.head_dim)
    s.head_dim = inner // s.heads
    local bias = m.attention_bias == 1
    return mlp_of(m, join(attention(m, bias, bias), blocks.mamba2(m, s, "mamba.")),
                  "feed_forward.", m.intermediate)
  end,
  extra = function(m)
    local s = ssm_sizes(m)
    local inner = number(m.config.mamba_d_ssm, s.heads * s.head_dim)
    s.head_dim = inner // s.heads
    return 2 * m.hidden + blocks.mamba2_extra(s)
      - (m.config.mamba_rms_norm and 0 or inner)
  end,
}

-- Bamba: Mamba-2 but for the layers that the config lists.
family {
  types = { "bamba" },
  beside = { "input_layernorm", "pre_ff_layernorm", { of = "ssm_in", "mamba.norm" } },
  last = "final_layernorm",
  prefix = "model.", head = "lm_head",
  block = function(m)
    local bias = m.attention_bias == 1
    local rest = mlp_of(m, {}, "feed_forward.", m.intermediate)
    return {
      layers = blocks.layers(m, function(i)
        return blocks.contains(m.config.attn_layer_indices, i) and "attention" or "mamba"
      end),
      kind = { attention = join(attention(m, bias, bias), rest),
               mamba = join(blocks.mamba2(m, ssm_sizes(m), "mamba."), rest) },
    }
  end,
  extra = function(m)
    return { attention = 2 * m.hidden,
             mamba = 2 * m.hidden + blocks.mamba2_extra(ssm_sizes(m)) }
  end,
}

-- Jamba: Mamba-1, whose narrow projections (x_proj, dt_proj) stay as they are, and attention.
family {
  types = { "jamba" },
  beside = { "input_layernorm", "pre_ff_layernorm", routed("feed_forward.router"),
             { of = "ssm_in", "mamba.dt_layernorm", "mamba.b_layernorm", "mamba.c_layernorm" } },
  last = "final_layernorm",
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c = m.config
    local inner = number(c.mamba_expand, 2) * m.hidden
    local path = "feed_forward"
    local ssm = {
      linear("ssm_in", "ssm_in", "mamba.in_proj", 2 * inner, m.hidden),
      linear("ssm_out", "ssm_out", "mamba.out_proj", m.hidden, inner),
    }
    local kind = {}
    for name, rest in pairs {
      dense = mlp_of(m, {}, path .. ".", m.intermediate),
      sparse = moe(m, { path = path, rows = m.intermediate,
                        stack = { gate_up = path .. ".experts.gate_up_proj",
                                  down = path .. ".experts.down_proj" } }),
    } do
      kind[name .. "_mamba"] = join(ssm, rest)
      kind[name .. "_attention"] = join(attention(m, false, false), rest)
    end
    local every, offset = number(c.attn_layer_period, 8), number(c.attn_layer_offset, 4)
    local period, start = number(c.expert_layer_period, 2), number(c.expert_layer_offset, 1)
    local has = first(c, { "num_experts", "num_local_experts" }, 16) > 1
    return {
      layers = blocks.layers(m, function(i)
        local s = has and i % period == start
        return (s and "sparse" or "dense") .. (i % every == offset and "_attention" or "_mamba")
      end),
      kind = kind,
    }
  end,
  extra = function(m)
    local c, h = m.config, m.hidden
    local inner, state = number(c.mamba_expand, 2) * h, number(c.mamba_d_state, 16)
    local rank = number(c.mamba_dt_rank, (h + 15) // 16)
    local ssm = 2 * h + inner * (number(c.mamba_d_conv, 4) + 1) + inner * (rank + 2 * state)
      + rank * inner + inner + inner * state + inner + rank + 2 * state
    return { dense_mamba = ssm, sparse_mamba = ssm + router(m), dense_attention = 2 * h,
             sparse_attention = 2 * h + router(m) }
  end,
}

-- LFM2: short convolutions between gates, and attention.
local function lfm2(m, rest, kind, suffix)
  kind["conv" .. suffix] = join({
    linear("conv_in", "conv_in", "conv.in_proj", 3 * m.hidden, m.hidden),
    linear("conv_out", "conv_out", "conv.out_proj", m.hidden, m.hidden),
  }, rest)
  local a = attention(m, false, false)
  a[4] = linear("o", "o", "self_attn.out_proj", m.hidden, m.heads * m.head_dim)
  kind["full_attention" .. suffix] = join(a, rest)
end
local function lfm2_extra(m, router_weights)
  local conv = 2 * m.hidden + m.hidden * number(m.config.conv_L_cache, 3)
  local full = 2 * m.hidden + 2 * m.head_dim
  return { conv = conv, full_attention = full, conv_sparse = conv + router_weights,
           full_attention_sparse = full + router_weights }
end
local w = { gate = "w1", up = "w3", down = "w2" }
local lfm2_beside = { "operator_norm", "ffn_norm",
                      { of = "q", "self_attn.q_layernorm", "self_attn.k_layernorm" } }
family {
  types = { "lfm2" },
  defaults = { tied = 1 },
  beside = lfm2_beside, last = "embedding_norm",
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c, rows, kind = m.config, m.intermediate, {}
    if c.block_auto_adjust_ff_dim ~= false then
      local multiple = number(c.block_multiple_of, 256)
      rows = math.floor(number(c.block_ffn_dim_multiplier, 1) * (2 * rows // 3))
      rows = (rows + multiple - 1) // multiple * multiple
    end
    lfm2(m, mlp_of(m, {}, "feed_forward.", rows, { names = w }), kind, "")
    local full = c.full_attn_idxs
    return {
      layers = c.layer_types or blocks.layers(m, function(i)
        return blocks.contains(full, i) and "full_attention" or "conv"
      end),
      kind = kind,
    }
  end,
  extra = function(m) return lfm2_extra(m, 0) end,
}
family {
  types = { "lfm2_moe" },
  defaults = { tied = 1 },
  beside = join(lfm2_beside, { routed("feed_forward.gate") }), last = "embedding_norm",
  prefix = "model.", head = "lm_head",
  block = function(m)
    local kind, dense = {}, number(m.config.num_dense_layers, 0)
    lfm2(m, mlp_of(m, {}, "feed_forward.", m.intermediate, { names = w }), kind, "")
    lfm2(m, moe(m, { path = "feed_forward", gate = "w1", up = "w3", down = "w2" }), kind, "_sparse")
    local types, full = m.config.layer_types, m.config.full_attn_idxs
    return {
      layers = blocks.layers(m, function(i)
        local what = type(types) == "table" and types[i + 1]
          or blocks.contains(full, i) and "full_attention" or "conv"
        return what .. (i < dense and "" or "_sparse")
      end),
      kind = kind,
    }
  end,
  extra = function(m) return lfm2_extra(m, router(m, true)) end,
}

family {
  types = { "mamba2" },
  names = { heads = "num_heads" },
  defaults = { intermediate = 1 },
  beside = { "norm", "mixer.norm" }, last = "norm_f",
  prefix = "backbone.", embedding = "backbone.embeddings", head = "lm_head",
  block = function(m) return blocks.mamba2(m, ssm_sizes(m), "mixer.", m.config.use_bias) end,
  extra = function(m) return m.hidden + blocks.mamba2_extra(ssm_sizes(m)) end,
}

-- Kimi Linear: delta attention with a gate for each channel through narrow vectors, which stay as
-- they are with the convolutions; MLA in every fourth layer; experts.
local function kda_sizes(c)
  local o = type(c.linear_attn_config) == "table" and c.linear_attn_config or {}
  return first(o, { "num_heads" }, first(c, { "linear_num_heads", "linear_num_value_heads" }, 32)),
    first(o, { "head_dim" }, first(c, { "linear_head_dim", "linear_value_head_dim" }, 128)),
    first(o, { "short_conv_kernel_size" }, number(c.linear_conv_kernel_dim, 4)), o.full_attn_layers
end
family {
  types = { "kimi_linear" },
  beside = beside(routed("block_sparse_moe.gate"), blocks.beside_mla("self_attn")),
  prefix = "model.", head = "lm_head",
  block = function(m)
    local c, s, dense = m.config, blocks.expert_sizes(m), blocks.first_dense(m)
    local heads, dim, _, listed = kda_sizes(c)
    local rows = first(c, { "num_shared_experts", "n_shared_experts" }, 1) * s.rows
    local path, kind = "block_sparse_moe", {}
    local kda = {}
    for _, name in ipairs { "q", "k", "v" } do
      table.insert(kda, linear(name, "qkv", "self_attn." .. name .. "_proj", heads * dim, m.hidden))
    end
    table.insert(kda, linear("o", "o", "self_attn.o_proj", m.hidden, heads * dim))
    for name, rest in pairs {
      dense = mlp(m, {}, false),
      sparse = join(moe(m, { path = path, gate = "w1", up = "w3", down = "w2" }),
                    shared(m, path .. ".shared_experts.", rows)),
    } do
      kind[name .. "_delta"] = join(kda, rest)
      kind[name .. "_full"] = join(blocks.mla(m), rest)
    end
    return {
      layers = blocks.layers(m, function(i)
        local full = blocks.contains(listed, i + 1)
          or (type(c.layer_types) == "table" and c.layer_types[i + 1] == "full_attention")
        return (dense(i) and "dense" or "sparse") .. (full and "_full" or "_delta")
      end),
      kind = kind,
    }
  end,
  extra = function(m)
    local heads, dim, conv = kda_sizes(m.config)
    local d, h = heads * dim, m.hidden
    local delta = 2 * h + 3 * d * conv + heads + d + heads * h + 2 * (dim * h + d * dim) + dim
    local full = 2 * h + blocks.mla_extra(m)
    return { dense_delta = delta, dense_full = full, sparse_delta = delta + router(m, true),
             sparse_full = full + router(m, true) }
  end,
}
