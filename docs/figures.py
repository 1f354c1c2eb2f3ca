"""Draw the figures of docs/LINEAR.md: `python docs/figures.py`. Each is computed here, with textadv's own functions."""

from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

import textadv

FOLDER = Path(__file__).parent / "figures"
BLUE, RED, GREY = "#2b6cb0", "#c53030", "#718096"
MASK = torch.ones(1, 1, dtype=torch.bool)  # a point of the plane is a text of one word: (B, 1, 2)


def _axes(columns: int = 1, width: float = 5.6, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def dimensions() -> Figure:
    """A linear model: what a step of 0.05 in every dimension does to the logit, by the number of dimensions."""
    generator = torch.Generator().manual_seed(0)
    sizes = [2**k for k in range(1, 15)]
    worst, random = [], []
    for size in sizes:
        w, x = torch.randn(2, 200, size, generator=generator)  # 200 models, each with one text
        spread = (w * x).sum(1).std()  # of the logits
        noise = torch.randn(200, size, generator=generator).sign()
        worst.append(float((0.05 * w.sign() * w).sum(1).mean() / spread))
        random.append(float((0.05 * noise * w).sum(1).std() / spread))
    figure, (axes,) = _axes()
    axes.loglog(sizes, worst, "o-", color=RED, label="in the direction of FGSM")
    axes.loglog(sizes, random, "o-", color=GREY, label="in a random direction")
    axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlabel="dimensions", ylabel="change of the logit / its standard deviation")
    axes.legend(frameon=False)
    return figure


def _train(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(600):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def _plane(axes: Axes, model: nn.Module, width: tuple[float, float], height: tuple[float, float]) -> None:
    """Shade the plane by the probability of class 1, with the border between the classes."""
    horizontal, vertical = torch.linspace(*width, 160), torch.linspace(*height, 120)
    grid = torch.stack(torch.meshgrid(horizontal, vertical, indexing="xy"), dim=-1)
    with torch.no_grad():
        p = model(grid.reshape(-1, 1, 2)).softmax(1)[:, 1].reshape(120, 160)
    axes.contourf(horizontal, vertical, p, levels=torch.linspace(0, 1, 11), cmap="coolwarm", alpha=0.45)
    axes.contour(horizontal, vertical, p, levels=[0.5], colors="black", linewidths=1.2)
    axes.set(xticks=[], yticks=[], aspect="equal")


def closed_form() -> Figure:
    """The divergence around a point: its direction in closed form, and power iterations from 40 random starts."""
    torch.manual_seed(4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    x = torch.tensor([[[0.3, -0.2]]], dtype=torch.float64, requires_grad=True)
    logits = model(x)
    exact = textadv.closed_form_direction(logits, textadv.logit_gradients(logits, x), MASK)[0, 0]

    def divergence(points: Tensor) -> Tensor:
        return textadv.local_distributional_smoothness(logits.detach().expand(len(points), 3), model(points))

    starts = x.detach().expand(40, 1, 2)
    found = textadv.power_iteration(divergence, starts, MASK.expand(40, 1), xi=0.1, num_power_iterations=1)[:, 0]
    side = torch.linspace(-1.3, 1.3, 121, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1)
    with torch.no_grad():
        values = divergence(x + 0.5 * grid.reshape(-1, 1, 2)).reshape(121, 121)
    figure, (axes,) = _axes(1, 4.6, 4.2)
    axes.contourf(side, side, values, levels=12, cmap="Blues", alpha=0.7)
    axes.plot(*found.T, "o", color=RED, markersize=5, alpha=0.7, label="one power iteration, 40 starts")
    for sign in (1, -1):
        axes.annotate("", (sign * exact).tolist(), (0, 0), arrowprops={"arrowstyle": "->", "lw": 2})
    axes.plot([], [], color="black", linewidth=2, label="closed form")
    axes.set(xticks=[], yticks=[], aspect="equal")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2, fontsize=9)
    return figure


def _moons(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two interleaved half circles with noise: points (B, 1, 2) and classes (B,)."""
    angle = torch.rand(size, generator=generator) * torch.pi
    labels = torch.arange(size) % 2
    sign = 1.0 - 2.0 * labels
    x = torch.stack([angle.cos() * sign + labels, angle.sin() * sign + 0.5 * labels], dim=1)
    return (x + 0.08 * torch.randn(x.shape, generator=generator))[:, None], labels


def moons() -> Figure:
    """Two classes of the plane with eight labels and 500 points without: no, adversarial and virtual training."""
    generator = torch.Generator().manual_seed(2)
    unlabeled, _ = _moons(500, generator)
    x, labels = _moons(8, generator)
    figure, panels = _axes(3, 9.0, 2.7)
    for axes, method in zip(panels, ("none", "adversarial", "adversarial+vat"), strict=True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))

        def loss(model: nn.Module = model, method: str = method) -> Tensor:
            total = nn.functional.cross_entropy(model(x), labels)
            if "adversarial" in method:
                total = total + textadv.adversarial_loss(model, x, labels, MASK.expand(len(x), 1), 0.3).mean()
            if "vat" in method:
                mask = MASK.expand(len(unlabeled), 1)
                total = total + textadv.virtual_adversarial_loss(model, unlabeled, mask, 0.3).mean()
            return total

        _train(model, loss)
        _plane(axes, model, (-1.5, 2.5), (-1.1, 1.6))
        axes.plot(*unlabeled[:, 0].T, ".", color=GREY, markersize=2, alpha=0.6)
        for number, color in enumerate((BLUE, RED)):
            axes.plot(*x[labels == number, 0].T, "o", color=color, markeredgecolor="white", markersize=7)
        axes.set_title(method, fontsize=10)
    return figure


FIGURES = (dimensions, closed_form, moons)


def draw(folder: Path) -> None:
    """Write all figures as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for figure in FIGURES:
        figure().savefig(folder / f"{figure.__name__}.png")


if __name__ == "__main__":
    draw(FOLDER)
