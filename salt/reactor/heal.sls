# salt/beacon/<id>/globoapp/api/bad: put the service back, if the runner finds that it may.
heal the API:
  runner.globoapp.heal:
    - args:
        minion: {{ data['id'] | tojson }}
{% if data.get('app') %}
        app: {{ data['app'] | tojson }}
{% endif %}
