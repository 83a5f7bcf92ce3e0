# failhard: False stands at every state: where a site's master has it on, a failed deploy would not be recorded.
# A deploy, step by step. With bad settings or an unfit host only the first step is there: it says what is wrong, and
# nothing is touched.
{% from "globoapp/settings.jinja" import app with context %}
include:
  - globoapp.settings
{% if not app.problems %}
  - globoapp.tree
  - globoapp.packages
  - globoapp.app
  - globoapp.service
  - globoapp.health
  - globoapp.record
  - globoapp.monitor
{% endif %}
