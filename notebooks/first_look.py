# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A first look
#
# What is about to break on a trading platform, when, and why? This notebook asks a Prometheus, the way you would at
# your desk: it reads a few series, looks at their past, forecasts them, and follows one bad forecast to its cause.
#
# It needs a Prometheus with the metrics of the built-in catalogue. `make demo` starts one with two things going wrong
# on it and prints its address; put that into `DETECTOR_URL` (or leave it out for `http://localhost:9090`).
# Every call is described in `docs/python-api.md`. The notebook is committed without outputs: what you see is yours.

# %%
import os

from detector import Detector

url = os.environ.get("DETECTOR_URL", "http://localhost:9090")
detector = Detector.from_catalogue("day_trade", url=url)
detector

# %% [markdown]
# ## What is watched
#
# The catalogue is one YAML file: which PromQL to run, in which unit, and what counts as good. These are the queries
# that have an objective; for them the worker raises predictive alerts.

# %%
watched = detector.queries()
watched[watched.objective != ""][["objective", "unit", "step", "history", "description"]]

# %% [markdown]
# ## The past
#
# A query of the catalogue is fetched by its name, anything else is PromQL. What comes back is a frame: a numpy array
# `values` (series down, time across), the labels of every series, and what the catalogue knows about it.

# %%
accuracy = detector.fetch("ml_ensemble_accuracy", window="15d")
accuracy

# %%
accuracy.plot("3d")

# %% [markdown]
# The accuracy swings every day, so a low value alone says nothing. A frame is a pandas table whenever you want one:

# %%
accuracy.to_pandas().describe()

# %% [markdown]
# ## The forecast
#
# `forecast` learns the daily and weekly pattern, the noise, and any slide that has begun, and draws 96 possible
# futures. Bands are read off those futures; so are the odds of a breach, corrected by how often such odds came true.

# %%
forecast = accuracy.forecast("24h")
forecast.quantile([0.1, 0.5, 0.9]).iloc[[0, 59, -1]]

# %%
forecast.plot()

# %% [markdown]
# Will it fall under its objective of 93 %, and when? The columns `time_to_breach_*` are times from now; `NaT` means
# that too few of the futures break the objective at all.

# %%
accuracy_breach = forecast.breach()
accuracy_breach.T

# %% [markdown]
# ## Which disk fills up
#
# The same three calls for every file system at once, sorted by how worrying they are.

# %%
disks = detector.fetch("node_disk_usage", window="15d")
disk_forecast = disks.forecast("24h")
disk_breach = disk_forecast.breach().droplevel(["job", "service"])
disk_breach.sort_values("probability_24h", ascending=False).head()

# %%
disk_forecast.plot()

# %% [markdown]
# Another threshold is another question, not another forecast. When does any of them pass 95 %?

# %%
disk_forecast.breach(95).droplevel(["job", "service"]).query("probability_24h > 0.05")

# %% [markdown]
# ## Why is the accuracy sliding?
#
# The ensemble is as good as its models. `ml_model_performance` has the accuracy of each, on every instance. We compare
# the last hour with the same hour of the day before, so that the time of day cancels out. What moves all models alike
# (a quiet weekend) is the market; what moves one of them is the culprit.

# %%
models = detector.fetch("ml_model_performance", window="15d")
table = models.to_pandas().T.groupby("model").mean().T
hour = 3600 // models.step
last_hour = table.tail(hour).mean()
day_before = table.iloc[-24 * hour - hour : -24 * hour].mean()
change = (last_hour - day_before).sort_values()
(100 * change).round(2).rename("percentage points against yesterday").to_frame()

# %%
culprit = change.index[0]
fall, usual = -100 * change.iloc[0], -100 * change.median()
print(f"{culprit} fell by {fall:.1f} percentage points, the median model by {usual:.1f}.")

# %%
models.select({"instance": "ml-service-0"}).plot("2d")

# %% [markdown]
# ## Since when?
#
# An anomaly score says how surprising each point was, given what came before; 1 is the threshold. `anomalies` lists the
# stretches beyond it, the most surprising first. A slow slide takes its time to get there, and the list may be empty:
# then the scores themselves show which model leaves its usual course, and since when.

# %%
models.anomalies("6h").droplevel(["job", "service"]).head()

# %%
scores = models.scores("6h").T.groupby("model").max().T
scores.resample("30min").max().round(2).tail(8)

# %% [markdown]
# ## What next
#
# - The same forecast without Python: `detector forecast ml_ensemble_accuracy --url $DETECTOR_URL --png accuracy.png`.
# - Your own metrics: `Detector(url).fetch("any PromQL")`, then `.forecast("24h", objective={"below": 80})`.
# - Your own data: `WatchedFrame.from_pandas(table)` from `detector.api` takes any table with a time index.
# - Every minute, with alerts: `detector run`.
