"""pidgan's Cramer GAN (M. Barbetti and L. Anderlini, doi:10.5281/zenodo.10463727) on tracks of the RICH.

    python pidgan_rich.py TRACKS.npz ANSWERS.npz [--minutes 10] [--algorithm CramerGAN] [--batch 2048]

`TRACKS.npz` is what `rich.py` writes: features and DLLs of weighted training tracks, features of the test tracks. Players and
rates are those with which pidgan's authors train their model of the RICH: ten residual layers of 128, 64 latent numbers,
RMSprop at 4e-4 and 5e-4; the critic of `CramerGAN` gives 256 numbers. DLLs go through scikit-learn's QuantileTransformer to
normal scores (it knows no weights); the weights, negative ones included, go to pidgan as `sample_weight`. After the budget the
last generator answers.
"""

from __future__ import annotations

from importlib import metadata

import keras
import numpy as np
import tensorflow as tf
from peer import Budget, parser, write
from pidgan import algorithms
from pidgan.players.discriminators import ResDiscriminator
from pidgan.players.generators import ResGenerator
from sklearn.preprocessing import QuantileTransformer

RATES = (4e-4, 5e-4)
"""Of generator and discriminator."""
LATENT, LAYERS, WIDTH = 64, 10, 128
PIECE = 50_000


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--algorithm", default="CramerGAN", choices=sorted(n for n in dir(algorithms) if "GAN" in n))
    options.add_argument("--batch", type=int, default=2048)
    chosen = options.parse_args()
    keras.utils.set_random_seed(chosen.seed)
    with np.load(chosen.split, allow_pickle=False) as stored:
        c, dll, w, asked = (stored[name] for name in ("train_features", "train_dll", "train_weights", "test_features"))
    scores = QuantileTransformer(output_distribution="normal", subsample=200_000, random_state=chosen.seed)
    y = scores.fit_transform(dll).astype(np.float32)
    sizes = {"num_hidden_layers": LAYERS, "mlp_hidden_units": WIDTH}
    generator = ResGenerator(output_dim=y.shape[1], latent_dim=LATENT, output_activation=None, name="generator", **sizes)
    outputs, linear = (256 if chosen.algorithm == "CramerGAN" else 1), chosen.algorithm.startswith(("W", "Cramer"))
    activation = "linear" if linear else "sigmoid"
    critic = ResDiscriminator(output_dim=outputs, output_activation=activation, name="discriminator", **sizes)
    gan = getattr(algorithms, chosen.algorithm)(generator, critic)
    gan.compile(
        generator_optimizer=keras.optimizers.RMSprop(RATES[0]), discriminator_optimizer=keras.optimizers.RMSprop(RATES[1])
    )
    gan(c[: chosen.batch], y[: chosen.batch])
    budget, steps = Budget(chosen.minutes), 0
    order = np.random.default_rng(chosen.seed)
    while budget.used < 1:  # a fiftieth of the events at a time, so that the budget is kept
        rows = order.choice(len(c), max(50 * chosen.batch, len(c) // 50))
        data = tf.data.Dataset.from_tensor_slices((c[rows], y[rows], w[rows])).batch(chosen.batch, drop_remainder=True)
        losses = gan.fit(data, epochs=1, verbose=0).history
        steps += len(rows) // chosen.batch
        words = ", ".join(f"{name} {values[-1]:.3f}" for name, values in losses.items())
        print(f"{budget.used:4.0%} of the budget, step {steps}: {words}", flush=True)
    took = budget.spent()

    @tf.function(reduce_retracing=True)
    def generate(features: tf.Tensor) -> tf.Tensor:
        return gan.generator.plain_keras(tf.concat([features, tf.random.normal((tf.shape(features)[0], LATENT))], axis=1))

    made, clock = [], Budget(1)
    for start in range(0, len(asked), PIECE):
        made.append(scores.inverse_transform(generate(tf.constant(asked[start : start + PIECE])).numpy()))
    spent = clock.spent()
    versions = {name: metadata.version(name) for name in ("pidgan", "tensorflow-cpu", "keras")}
    settings = {"algorithm": chosen.algorithm, "batch": chosen.batch}
    facts = {**took, "steps": steps, "tracks_per_processor_second": len(asked) / spent["training_cpu_s"]}
    write(chosen.out, np.concatenate(made), np.empty((0, y.shape[1])), {**facts, "versions": versions, "settings": settings})


if __name__ == "__main__":
    main()
