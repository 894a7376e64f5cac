import pytest
import torch

from unroll.encoders.regularizers import LockedDropout


class TestLockedDropout:
    def test_one_mask_for_all_steps_of_a_row(self):
        output = LockedDropout(0.5)(torch.ones(8, 20, 32))
        assert torch.equal(output, output[:, :1].expand_as(output))

    def test_rows_and_features_draw_for_themselves(self):
        masks = LockedDropout(0.5)(torch.ones(64, 2, 64))[:, 0] != 0
        assert len({tuple(row.tolist()) for row in masks}) == 64
        assert len({tuple(column.tolist()) for column in masks.T}) == 64

    def test_calls_draw_anew(self):
        dropout, x = LockedDropout(0.5), torch.ones(4, 2, 64)
        assert not torch.equal(dropout(x), dropout(x))

    @pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
    def test_share_and_expectation(self, p):
        output = LockedDropout(p)(torch.ones(400, 2, 250))
        kept = output != 0
        assert abs((~kept).float().mean() - p) < 0.01
        torch.testing.assert_close(output[kept], torch.full_like(output[kept], 1 / (1 - p)))
        assert abs(output.mean() - 1) < 0.05

    def test_values_are_scaled_and_gradients_follow_the_mask(self):
        x = torch.randn(4, 6, 16, requires_grad=True)
        output = LockedDropout(0.5)(x)
        kept = output != 0
        torch.testing.assert_close(output, x * kept * 2)
        output.sum().backward()
        torch.testing.assert_close(x.grad, kept * 2.0)

    def test_off_in_evaluation(self):
        x = torch.randn(4, 6, 16)
        assert torch.equal(LockedDropout(0.5).eval()(x), x)

    def test_zero_drops_nothing(self):
        x = torch.randn(4, 6, 16)
        assert torch.equal(LockedDropout(0.0)(x), x)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_dtype_is_kept(self, dtype):
        assert LockedDropout(0.5)(torch.ones(2, 3, 4, dtype=dtype)).dtype == dtype
