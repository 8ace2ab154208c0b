"""The operators that a user's program may use: arithmetic on tensors, and the scripting around it.

This is an allowlist, so operators that torch adds later are refused until somebody has reviewed them. Left out on
purpose: operators that take a file name (`save`, `from_file`), change a tensor's memory (`set_`, `resize_`,
`as_strided`), read or change the state of the process (`set_grad_enabled`, `manual_seed`), run beside it (`fork`,
`wait`, `rpc_*`), or call Python or compiled classes (`PythonOp`, TorchBind).
"""

from __future__ import annotations

_ELEMENTWISE = """
abs absolute acos acosh add addcdiv addcmul alpha_dropout arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin
asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil celu
clamp clamp_max clamp_min clip copysign cos cosh deg2rad digamma div divide dropout elu erf erfc erfinv exp exp2 expm1
feature_alpha_dropout feature_dropout fix float_power floor floor_divide fmax fmin fmod frac gelu glu hardshrink
hardsigmoid hardswish hardtanh heaviside hypot isclose isfinite isinf isnan leaky_relu lerp lgamma log log10 log1p log2
log_sigmoid logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit masked_fill maximum minimum mish
mul multiply nan_to_num native_dropout neg negative polygamma positive pow prelu rad2deg reciprocal relu relu6
remainder round rrelu rsqrt rsub selu sgn sigmoid sign silu sin sinc sinh softplus softshrink sqrt square sub subtract
tan tanh threshold true_divide trunc where xlogy
special_digamma special_entr special_erf special_erfc special_erfinv special_exp2 special_expit special_expm1
special_gammaln special_log1p special_log_softmax special_logit special_logsumexp special_ndtr special_round
special_softmax special_xlogy
"""
_REDUCTIONS = """
all allclose amax amin any argmax argmin argsort cumprod cumsum equal logcumsumexp logsumexp max mean median min norm
prod sort std std_mean sum topk var var_mean linalg_norm linalg_vector_norm count_nonzero
softmax _softmax log_softmax _log_softmax _safe_softmax frobenius_norm nansum nanmean aminmax
"""
_LAYERS = """
adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d avg_pool1d
avg_pool2d batch_norm _batch_norm_with_update bilinear constant_pad_nd conv1d conv2d conv_transpose1d conv_transpose2d
convolution _convolution _convolution_mode cosine_similarity embedding embedding_bag group_norm gru gru_cell
instance_norm layer_norm linear lstm lstm_cell max_pool1d max_pool1d_with_indices max_pool2d max_pool2d_with_indices
native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training native_group_norm native_layer_norm
pad pixel_shuffle pixel_unshuffle reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d rms_norm
rnn_relu rnn_tanh scaled_dot_product_attention _scaled_dot_product_flash_attention_for_cpu
_scaled_dot_product_attention_math _transformer_encoder_layer_fwd _native_multi_head_attention unfold upsample_linear1d
upsample_nearest1d upsample_nearest2d upsample_bilinear2d _weight_norm _weight_norm_interface im2col col2im
fft_fft fft_ifft fft_irfft fft_rfft _fft_c2r _fft_r2c _fft_c2c channel_shuffle fft_rfftfreq fft_fftfreq
"""
_MATRICES = """
addbmm addmm addmv addr baddbmm bmm chain_matmul dot einsum inner linalg_matmul linalg_multi_dot matmul mm mv outer
tensordot trace tril triu cdist cross kron vdot tril_indices triu_indices
"""
_SHAPES = """
adjoint alias broadcast_tensors broadcast_to cat chunk clone column_stack concat concatenate contiguous copy copy_
detach diag diag_embed diagonal diff dstack expand expand_as fill fill_ flatten flip fliplr flipud gather hstack index
index_add index_copy index_fill index_put index_select masked_scatter masked_select meshgrid moveaxis movedim narrow
nonzero numpy_T mT one_hot permute pin_memory put ravel repeat repeat_interleave reshape reshape_as resolve_conj
resolve_neg roll rot90 scatter scatter_add scatter_reduce select select_scatter slice slice_scatter split
split_with_sizes squeeze stack swapaxes swapdims t take take_along_dim tensor_split tile transpose type_as unbind
unflatten unfold unsqueeze view view_as view_as_complex view_as_real vstack zero zero_ lift_fresh lift_fresh_copy
_unsafe_view _reshape_alias unsafe_split unsafe_chunk unsafe_split_with_sizes real imag conj angle searchsorted
bucketize unique_consecutive _unsafe_index _unsafe_index_put permute_copy view_copy expand_copy slice_copy select_copy
squeeze_copy unsqueeze_copy transpose_copy t_copy alias_copy detach_copy diagonal_copy unbind_copy split_copy
split_with_sizes_copy
"""
_NEW_TENSORS = """
arange as_tensor empty empty_like eye full full_like hamming_window hann_window linspace logspace new_empty new_full
new_ones new_zeros ones ones_like rand rand_like randn randn_like scalar_tensor tensor zeros zeros_like
"""
_COMPARISONS = "eq ge greater greater_equal gt isin le less less_equal lt ne not_equal"
_KINDS = """
_assert_tensor_metadata _assert_async _assert_scalar _to_copy cpu device dim element_size get_device is_complex
is_contiguous is_floating_point is_nonzero is_signed item numel requires_grad_ result_type promote_types size
storage_offset stride sym_numel sym_size sym_stride sym_storage_offset to data _local_scalar_dense _shape_as_tensor
sym_constrain_range sym_constrain_range_for_size _infer_size broadcast_shapes is_grad_enabled is_autocast_enabled
is_autocast_cpu_enabled get_autocast_dtype
"""
# TorchScript's operators on Python's numbers, strings, lists and dicts.
_SCRIPT = """
Bool Complex Float FloatImplicit Int IntImplicit ScalarImplicit __and__ __contains__ __derive_index __getitem__
__iand__ __ior__ __is__ __isnot__ __ixor__ __lshift__ __not__ __or__ __range_length __round_to_zero_floordiv __rshift__
__xor__ __interpolate __upsample append clear copy count dict divmod endswith extend fabs factorial find
floordiv format gamma get index insert is_scripting items join keys len list local_value lower lstrip
mathremainder modf ord pop popitem radians degrees percentFormat range remove replace reverse rstrip setdefault sorted
split startswith str strip update upper values _set_item Delete _list_to_tensor _tensor_to_list _unwrap_optional warn
is_inference _pad_enum
"""

_IN_PLACE = frozenset((_ELEMENTWISE + _COMPARISONS).split()) | frozenset(
    "squeeze unsqueeze transpose t swapaxes swapdims cumsum cumprod index_add index_copy index_fill index_put scatter "
    "scatter_add scatter_reduce masked_fill masked_scatter put tril triu detach addbmm addmm addmv addr baddbmm "
    "requires_grad".split()
)
_GROUPS = (_ELEMENTWISE, _REDUCTIONS, _LAYERS, _MATRICES, _SHAPES, _NEW_TENSORS, _COMPARISONS, _KINDS, _SCRIPT)
ATEN = frozenset(" ".join(_GROUPS).split()) | {f"{name}_" for name in _IN_PLACE}
# TorchScript's own operators: values, containers, branches, loops, and calls of functions that are checked themselves.
# What a program prints is discarded.
PRIM = frozenset(
    """
    CallFunction CallMethod Constant CreateObject DictConstruct DictIndex EnumName EnumValue GetAttr If ListConstruct
    ListUnpack Loop NumToTensor Print RaiseException SetAttr StringIndex TupleConstruct TupleIndex TupleSlice
    TupleUnpack Uninitialized abs data device dtype is_cpu is_cuda isinstance itemsize layout max min rangelist
    requires_grad shape tolist type unchecked_cast unchecked_unwrap_optional
    """.split()
)


def is_allowed(name: str) -> bool:
    """Whether a program may use an operator, such as `aten::conv1d` or `prim::If`."""
    namespace, _, operator = name.partition("::")
    return operator in {"aten": ATEN, "prim": PRIM}.get(namespace, ())
