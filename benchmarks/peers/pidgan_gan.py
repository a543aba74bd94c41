"""A conditional GAN of pidgan (M. Barbetti and L. Anderlini, doi:10.5281/zenodo.10463727) on the flattened cells.

    python pidgan_gan.py SPLIT.npz ANSWERS.npz [--minutes 10] [--algorithm BceGAN] [--batch 256]

Players, losses and rates are those with which pidgan's authors train their model of the LHCb RICH: `BceGAN` with label
smoothing 0.01 and injected noise 0.02, `ResGenerator` and `ResDiscriminator` of ten hidden layers with 128 units, 64 latent
numbers, RMSprop at 4e-4 and 5e-4; the batch is 256 in place of 2048, since there are thousands of showers and not millions.
Above 100 cells the rates of a discriminator with a sigmoid, and its generator's, are lower by 100 over the cells: with 900,
the authors' rates drive it into saturation in the first epoch, and nothing is learned any more. `--algorithm WGAN_GP` takes
pidgan's Wasserstein GAN with its own penalty. Logarithms of the cells are brought to normal scores, one by one, by
scikit-learn's QuantileTransformer, as pidgan's users do. Twenty times in the training the one-dimensional Wasserstein
distances of cells and of the energy sum are measured on the validation events, and the best generator is kept.

TensorFlow reads its number of threads from the environment: TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1, as the driver
sets them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import metadata
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from peer import CELLS, Budget, Known, LogCells, first_rows, measure, parser, write
from pidgan import algorithms
from pidgan.players.discriminators import ResDiscriminator
from pidgan.players.generators import ResGenerator
from sklearn.preprocessing import QuantileTransformer

CHECKS = 20
RATES = (4e-4, 5e-4)
"""Of generator and discriminator."""
FEW_CELLS = 100
OWN: dict[str, dict[str, float]] = {"BceGAN": {"label_smoothing": 0.01, "injected_noise_stddev": 0.02}}
"""Arguments of the algorithms beside their defaults."""

Sampler = Callable[[np.ndarray], np.ndarray]


def build(cells: int, options: argparse.Namespace) -> Any:
    """Generator, discriminator and their game, compiled."""
    sizes = {"num_hidden_layers": options.layers, "mlp_hidden_units": options.hidden}
    generator = ResGenerator(output_dim=cells, latent_dim=options.latent, output_activation=None, name="generator", **sizes)
    linear = options.algorithm.startswith(("W", "Cramer"))
    activation = "linear" if linear else "sigmoid"
    generator_rate, critic_rate = (rate * (1.0 if linear else min(1.0, FEW_CELLS / cells)) for rate in RATES)
    critic = ResDiscriminator(output_dim=1, output_activation=activation, name="discriminator", **sizes)
    gan = getattr(algorithms, options.algorithm)(generator, critic, **OWN.get(options.algorithm, {}))
    gan.compile(
        generator_optimizer=keras.optimizers.RMSprop(options.generator_lr or generator_rate),
        discriminator_optimizer=keras.optimizers.RMSprop(options.discriminator_lr or critic_rate),
    )
    return gan


def sampler(gan: Any, latent: int, back: Callable[[np.ndarray], np.ndarray]) -> Sampler:
    """Conditions to cells [MeV]: one compiled call of the generator with its noise, and the way back from normal scores."""

    @tf.function(reduce_retracing=True)
    def generate(c: Any) -> Any:
        return gan.generator.plain_keras(tf.concat([c, tf.random.normal((tf.shape(c)[0], latent))], axis=1))

    return lambda c: back(generate(tf.constant(c)).numpy())


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean one-dimensional Wasserstein distance of all columns and of the sum, in standard deviations of `a`."""
    a, b = (np.column_stack([x, x.sum(1)]) for x in (a, b))
    width = a.std(0)
    return float((np.abs(np.sort(a, 0) - np.sort(b, 0)).mean(0)[width > 0] / width[width > 0]).mean())


def train(
    gan: Any, sample: Sampler, data: tuple[np.ndarray, ...], held_cells: np.ndarray, options: argparse.Namespace
) -> dict[str, float]:
    """Play within the budget, an epoch at a time; leaves the best generator and returns what it took."""
    c, y, held_c = data
    rows = tf.data.Dataset.from_tensor_slices((c, y)).shuffle(len(c), seed=options.seed).batch(options.batch, drop_remainder=True)
    budget, best, kept, epochs, checked = Budget(options.minutes), np.inf, gan.generator.get_weights(), 0, 0.0
    while (used := budget.used) < 1 and not gan_stopped(gan):
        losses = gan.fit(rows, epochs=1, verbose=0, shuffle=False).history
        epochs += 1
        if used - checked > 1 / CHECKS or epochs == 1:
            checked, score = used, distance(held_cells, sample(held_c))
            words = ", ".join(f"{name} {values[-1]:.3f}" for name, values in losses.items())
            print(f"{used:4.0%} of the budget, epoch {epochs}: {words}, validation distance {score:.4f}", flush=True)
            if score < best:
                best, kept = score, gan.generator.get_weights()
    took = budget.spent()
    gan.generator.set_weights(kept)
    return {**took, "epochs": epochs, "steps": epochs * (len(c) // options.batch), "validation_distance": best}


def gan_stopped(gan: Any) -> bool:
    """True once weights are no numbers any more."""
    return not all(np.isfinite(w).all() for w in gan.generator.get_weights())


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--algorithm", default="BceGAN", choices=sorted(n for n in dir(algorithms) if "GAN" in n))
    options.add_argument("--layers", type=int, default=10)
    options.add_argument("--hidden", type=int, default=128)
    options.add_argument("--latent", type=int, default=64)
    options.add_argument("--batch", type=int, default=256)
    options.add_argument("--generator-lr", type=float)
    options.add_argument("--discriminator-lr", type=float)
    chosen = options.parse_args()
    keras.utils.set_random_seed(chosen.seed)
    known, generator = Known.read(chosen.split), np.random.default_rng(chosen.seed)
    train_c, held_c, test_c = known.features()
    logs = LogCells(known.train[CELLS])
    scores = QuantileTransformer(output_distribution="normal", subsample=None, random_state=chosen.seed)
    y = scores.fit_transform(logs.forward(known.train[CELLS], generator)).astype(np.float32)
    gan = build(known.cells, chosen)
    gan(train_c[: chosen.batch], y[: chosen.batch])
    sample = sampler(gan, chosen.latent, lambda normal: logs.inverse(scores.inverse_transform(normal)))
    took = train(gan, sample, (train_c, y, held_c), known.validation[CELLS], chosen)
    hundred = first_rows(test_c)
    facts = {
        **took,
        **measure(lambda: sample(hundred)),
        "parameters": int(sum(np.prod(w.shape) for w in gan.generator.trainable_weights)),
        "settings": {n: getattr(chosen, n) for n in ("algorithm", "layers", "hidden", "latent", "batch")},
        "versions": {n: metadata.version(n) for n in ("pidgan", "tensorflow", "keras", "numpy")},
    }
    write(chosen.out, sample(test_c), sample(train_c), facts)


if __name__ == "__main__":
    main()
