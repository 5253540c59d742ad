import pytest

from climax_lite.variables import OFFICIAL_VARIABLES, VARIABLES, quantity, variable, variables


def test_the_48_stand_in_checkpoint_order():
    assert len(OFFICIAL_VARIABLES) == len(set(OFFICIAL_VARIABLES)) == 48
    assert OFFICIAL_VARIABLES[:7] == (
        "land_sea_mask", "orography", "lattitude", "2m_temperature", "10m_u_component_of_wind", "10m_v_component_of_wind", "geopotential_50",
    )  # fmt: skip
    assert OFFICIAL_VARIABLES[6 + 7 * 4 + 1] == "relative_humidity_250"
    assert OFFICIAL_VARIABLES[-1] == "specific_humidity_925"


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("t2m", "2m_temperature"), ("2t", "2m_temperature"), ("tas", "2m_temperature"), ("uas", "10m_u_component_of_wind"), ("z500", "geopotential_500"),
        ("z_500", "geopotential_500"), ("ta_850", "temperature_850"), ("t850", "temperature_850"), ("hus_925", "specific_humidity_925"),
        ("q700", "specific_humidity_700"), ("hur50", "relative_humidity_50"), ("psl", "mean_sea_level_pressure"), ("latitude", "lattitude"),
        ("geopotential_300", "geopotential_300"),
    ],
)  # fmt: skip
def test_names_of_other_archives(alias, name):
    assert variable(alias).name == name


def test_attributes_are_cf():
    attrs = variable("u_component_of_wind_250").attrs
    assert attrs == {
        "units": "m s-1", "long_name": "u component of wind at 250 hPa", "short_name": "U250", "standard_name": "eastward_wind", "level": 250,
    }  # fmt: skip
    assert variable("lattitude").long_name == "latitude"
    assert variable("10m_u_component_of_wind").long_name == "10 m u component of wind"
    assert "level" not in variable("2m_temperature").attrs


def test_every_variable_is_found_under_its_own_name():
    assert all(variable(name).name == name for name in VARIABLES)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("2m_temprature", "did you mean '2m_temperature'"),
        ("geopotential", "expected a level in hPa behind the name, such as 'geopotential_500'"),
        ("zg500", "multiply it by 9.80665"),
        ("xyzzy_12", "unknown variable 'xyzzy_12'"),
        ("zz", "the nearest name is 'z500'"),
        ("zz500", "did you mean 'z500'"),
        ("h500", "unknown variable"),  # relative or specific humidity: nobody can tell
    ],
)
def test_an_unknown_name_gets_a_sentence(name, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(").replace(".", r"\.")):
        variable(name)


def test_a_variable_given_twice_under_two_names_is_an_error():
    with pytest.raises(ValueError, match="geopotential_500 more than once"):
        variables(["z500", "t2m", "geopotential_500"])


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("ta", "temperature"),
        ("z", "geopotential"),
        ("specific_humidity", "specific_humidity"),
        ("zg", None),
        ("t2m", None),
    ],
)
def test_the_quantity_behind_a_name_without_a_level(name, means):
    assert quantity(name) == means


def test_annual_statistics_of_climatebench():
    assert [variable(n).name for n in ("dtr", "pr90")] == ["diurnal_temperature_range", "precipitation_rate_90"]
