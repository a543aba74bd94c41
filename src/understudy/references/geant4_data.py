"""Where Geant4 finds its data, and how a child process is kept from asking for them.

Geant4 finds each data set through an environment variable (`G4LEDATA`, ...) or below `GEANT4_DATA_DIR`. The wheel of
`geant4-pybind` also keeps data sets in `~/.geant4_pybind`, and asks on standard input to download those that it misses,
or downloads them unasked where `CI=true`. Children therefore run with every variable set: those of data sets that are not
there point at an empty folder, which is all that electrons and photons need beside `G4LEDATA`.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

DATASETS = {
    "G4LEDATA": "G4EMLOW",
    "G4NEUTRONHPDATA": "G4NDL",
    "G4LEVELGAMMADATA": "PhotonEvaporation",
    "G4RADIOACTIVEDATA": "RadioactiveDecay",
    "G4PARTICLEXSDATA": "G4PARTICLEXS",
    "G4PIIDATA": "G4PII",
    "G4REALSURFACEDATA": "RealSurface",
    "G4SAIDXSDATA": "G4SAIDDATA",
    "G4ABLADATA": "G4ABLA",
    "G4INCLDATA": "G4INCL",
    "G4ENSDFSTATEDATA": "G4ENSDFSTATE",
    "G4CHANNELINGDATA": "G4CHANNELING",
}
"""Environment variable of each data set, and the name that its folder starts with."""

HADRONIC = ("G4LEVELGAMMADATA", "G4PARTICLEXSDATA", "G4SAIDXSDATA", "G4ENSDFSTATEDATA")
"""What every full reference physics list needs beside `G4LEDATA`."""


def find_data(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """The folder of every data set that is there, by environment variable.

    Args:
        environment: the process's environment variables; they come first.
        home: the user's folder, where the wheel's own downloads may be.
    """
    places = [Path(environment["GEANT4_DATA_DIR"])] if environment.get("GEANT4_DATA_DIR") else []
    places.append(home / ".geant4_pybind")
    found = {}
    for variable, prefix in DATASETS.items():
        folders = [environment[variable]] if environment.get(variable) else _folders(prefix, places)
        if folders:
            found[variable] = folders[0]
    return found


def _folders(prefix: str, places: list[Path]) -> list[str]:
    """Folders of one data set, the first place and the highest version first."""
    found = []
    for place in places:
        versions = {
            folder: [int(x) for x in re.findall(r"\d+", folder.name[len(prefix) :])] for folder in place.glob(f"{prefix}*")
        }
        numbered = {f: v for f, v in versions.items() if v and f.is_dir()}
        found += [str(f) for f in sorted(numbered, key=lambda f: numbered[f], reverse=True)]
    return found


def require_geant4(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """`find_data`, once the package and the electromagnetic data are seen to be there.

    Raises:
        ModuleNotFoundError: `geant4-pybind` is not installed.
        FileNotFoundError: there is no folder for `G4LEDATA`.
    """
    if importlib.util.find_spec("geant4_pybind") is None:
        raise ModuleNotFoundError("Geant4 needs the package geant4-pybind; install it with: pip install 'understudy[geant4]'")
    data = find_data(environment, home)
    if "G4LEDATA" not in data:
        raise FileNotFoundError(
            "Geant4 finds no data for electromagnetic physics; set G4LEDATA to the folder of the data set G4EMLOW,"
            " or GEANT4_DATA_DIR to the folder that holds all of Geant4's data sets"
        )
    if not Path(data["G4LEDATA"]).is_dir():
        raise FileNotFoundError(
            f"G4LEDATA names {data['G4LEDATA']}, which is no folder; set it to the folder of the data set G4EMLOW"
        )
    return data


def child_environment(environment: Mapping[str, str], data: Mapping[str, str], empty: Path) -> dict[str, str]:
    """The environment of a child process in which importing Geant4 neither asks nor downloads.

    Args:
        environment: the parent's variables.
        data: the folders that there are, as `require_geant4` gives them.
        empty: an existing folder that stands for the data sets that are not there.
    """
    (empty / "ENSDFSTATE.dat").touch()  # Geant4 opens this one file whatever the physics
    variables = {variable: data.get(variable, str(empty)) for variable in DATASETS}
    root = str(Path(__file__).resolve().parents[2])
    path = ":".join(p for p in (root, environment.get("PYTHONPATH", "")) if p)
    kept = {name: value for name, value in environment.items() if name != "CI"}
    return {"GEANT4_DATA_DIR": str(empty), **kept, **variables, "PYTHONPATH": path}


def missing_data(physics: str, data: Mapping[str, str]) -> list[str]:
    """Variables that a full reference physics list needs and that name no folder."""
    needed = list(HADRONIC)
    if "HP" in physics or physics.startswith(("Shielding", "LBE")):
        needed.append("G4NEUTRONHPDATA")
    if "INCL" in physics:
        needed += ["G4INCLDATA", "G4ABLADATA"]
    return [variable for variable in needed if variable not in data or not Path(data[variable]).is_dir()]
